//! From the name of a device to its executor: the only file that names `cpu` and `cuda`.

use crate::{Error, Result, cpu::Cpu, cuda, executor::Executor};

pub use cuda::{Gpu, build_note};

/// The executor that `name` asks for: `auto`, `cpu` or `cuda:N`.
///
/// # Errors
/// [`Error::Request`] for any other name, [`Error::Device`] if a GPU is asked for that cannot be used.
pub fn open(name: &str) -> Result<Box<dyn Executor>> {
    if matches!(name, "auto" | "cpu") {
        return Ok(Box::new(Cpu));
    }
    let ordinal: Option<usize> = name
        .strip_prefix("cuda:")
        .and_then(|number| number.parse().ok());
    let ordinal = ordinal.ok_or_else(|| {
        Error::request(
            "--device",
            format!("must be auto, cpu or cuda:N; given `{name}`"),
        )
    })?;
    Err(Error::device(format!(
        "{name} cannot be used: {}; use --device cpu",
        obstacle(ordinal)
    )))
}

/// The first GPU, or why there is none.
///
/// # Errors
/// A sentence for the user.
pub fn gpu() -> std::result::Result<Gpu, String> {
    let first = cuda::gpus()?.into_iter().next();
    first.ok_or_else(|| "the NVIDIA driver offers no GPU".into())
}

/// What stands between this build and GPU `ordinal`.
fn obstacle(ordinal: usize) -> String {
    let gpus = match cuda::gpus() {
        Ok(gpus) => gpus,
        Err(why) => return why,
    };
    match gpus.get(ordinal) {
        None => format!(
            "there are {} GPUs, counted from 0, so the last is cuda:{}",
            gpus.len(),
            gpus.len() - 1
        ),
        Some(gpu) => format!(
            "{} is there, but this program cannot run on it ({})",
            gpu.name,
            build_note()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_open_the_cpu_or_say_what_to_do() {
        assert_eq!(open("auto").unwrap().name(), "cpu");
        assert_eq!(open("cpu").unwrap().name(), "cpu");
        for bad in ["gpu", "cuda", "cuda:", "cuda:-1", ""] {
            let error = open(bad).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{bad}: {error}");
        }
        let error = open("cuda:4096").err().unwrap();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().ends_with("use --device cpu"), "{error}");
        assert!(!build_note().is_empty());
    }
}
