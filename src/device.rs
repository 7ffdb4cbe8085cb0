//! From the name of a device to its executor: the only file that names `cpu` and `cuda`.

use std::{path::Path, sync::Arc};

use crate::{Error, Result, cpu::Cpu, cuda, executor::Executor};

pub use cuda::{Device, Gpu, build_note};

/// The executor that `name` asks for: `auto`, `cpu` or `cuda:N`. `kernels` is a folder whose cubins a GPU runs instead
/// of those that were compiled in.
///
/// # Errors
/// [`Error::Request`] for any other name, [`Error::Device`] if a GPU is asked for that cannot be used.
pub fn open(name: &str, kernels: Option<&Path>) -> Result<Box<dyn Executor>> {
    if matches!(name, "auto" | "cpu") {
        return Ok(Box::new(Cpu));
    }
    Ok(Box::new(cuda::Cuda::new(open_gpu(name, kernels)?)))
}

/// The GPU `cuda:N`, for what only a GPU can do; `kernels` as for [`open`].
///
/// # Errors
/// As for [`open`]; [`Error::Device`] for the CPU.
pub fn open_gpu(name: &str, kernels: Option<&Path>) -> Result<Arc<dyn Device>> {
    if matches!(name, "auto" | "cpu") {
        return Err(Error::device("this needs a GPU; give --device cuda:N"));
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
    let driver = cuda::Driver::open(ordinal, kernels);
    driver
        .map(|driver| Arc::new(driver) as Arc<dyn Device>)
        .map_err(|error| unusable(name, error))
}

/// The error of a GPU that was asked for, with the way out.
fn unusable(name: &str, error: Error) -> Error {
    const WAY_OUT: &str = "; use --device cpu";
    let Error::Device { problem } = error else {
        return error;
    };
    let problem = problem.strip_suffix(WAY_OUT).unwrap_or(&problem);
    Error::device(format!("{name} cannot be used: {problem}{WAY_OUT}"))
}

/// The first GPU, or why there is none.
///
/// # Errors
/// A sentence for the user.
pub fn gpu() -> std::result::Result<Gpu, String> {
    let first = cuda::gpus()?.into_iter().next();
    first.ok_or_else(|| "the NVIDIA driver offers no GPU".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_open_the_cpu_or_say_what_to_do() {
        assert_eq!(open("auto", None).unwrap().name(), "cpu");
        assert_eq!(open("cpu", None).unwrap().name(), "cpu");
        for bad in ["gpu", "cuda", "cuda:", "cuda:-1", ""] {
            let error = open(bad, None).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{bad}: {error}");
        }
        let error = open("cuda:4096", None).err().unwrap();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().ends_with("use --device cpu"), "{error}");
        assert!(!build_note().is_empty());
    }
}
