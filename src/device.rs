//! From the name of a device to its executor: the only file that names `cpu` and `cuda`.

use std::{path::Path, sync::Arc};

use crate::{Error, Result, cpu::Cpu, cuda, executor::Executor};

pub use cuda::{Gpu, build_note, needs};

/// The executor that `name` asks for: `cpu` or `cuda:N`, or `auto` for what [`choose`] takes. `kernels` is a folder whose
/// cubins a GPU runs instead of those that were compiled in.
///
/// # Errors
/// [`Error::Request`] for any other name, [`Error::Device`] if a GPU is asked for that cannot be used.
pub fn open(name: &str, kernels: Option<&Path>) -> Result<Box<dyn Executor>> {
    match name {
        "auto" => return Ok(choose(kernels).0),
        "cpu" => return Ok(Box::new(Cpu)),
        _ => {}
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
    gpu_executor(ordinal, kernels).map_err(|error| match error {
        Error::Device { problem } => {
            let problem = without_way_out(&problem);
            Error::device(format!("{name} cannot be used: {problem}{WAY_OUT}"))
        }
        error => error,
    })
}

/// The first GPU if it can run the kernels, else the CPU; and a line that says which and why.
pub fn choose(kernels: Option<&Path>) -> (Box<dyn Executor>, String) {
    choice(gpu_executor(0, kernels))
}

fn choice(gpu: Result<Box<dyn Executor>>) -> (Box<dyn Executor>, String) {
    match gpu {
        Ok(executor) => {
            let which = format!("running on {}", executor.name());
            (executor, which)
        }
        Err(error) => {
            let why = error.to_string();
            let which = format!("running on the CPU: {}", without_way_out(&why));
            (Box::new(Cpu), which)
        }
    }
}

fn gpu_executor(ordinal: usize, kernels: Option<&Path>) -> Result<Box<dyn Executor>> {
    let driver = cuda::Driver::open(ordinal, kernels)?;
    Ok(Box::new(cuda::Cuda::new(Arc::new(driver))))
}

/// How errors of a GPU end.
const WAY_OUT: &str = "; use --device cpu";

fn without_way_out(problem: &str) -> &str {
    let ends = [WAY_OUT, ", or use --device cpu"];
    let found = ends.into_iter().find_map(|end| problem.strip_suffix(end));
    found.unwrap_or(problem)
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

    #[test]
    fn auto_says_what_it_took_and_why() {
        let (executor, which) = choice(Err(Error::device(
            "built without GPU kernels, or use --device cpu",
        )));
        assert_eq!(executor.name(), "cpu");
        assert_eq!(which, "running on the CPU: built without GPU kernels");
        let (executor, which) = choice(Ok(Box::new(Cpu)));
        assert_eq!(which, format!("running on {}", executor.name()));
        let (taken, why) = choose(None);
        assert!(why.starts_with("running on ") && why.len() > 15, "{why}");
        assert_eq!(open("auto", None).unwrap().name(), taken.name());
    }
}
