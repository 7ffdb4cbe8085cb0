//! Opens the executor of a named device. Only this file names both `cpu` and `cuda`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Error, Result,
    cpu::Cpu,
    cuda::{
        self, Cuda,
        cublaslt::CublasLt,
        gemm_backend::{GemmBackend, GemmPolicy},
    },
    error::{Field, Hint, quoted},
    executor::Executor,
};

pub(crate) use crate::cpu::bytes_of;
pub use cuda::{
    Device, Driver, GpuInfo, build_note, gemm_backend::GemmChoice, needs, open_library,
    search_order as library_files,
};

/// How to open a GPU; the CPU has no options.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// A folder whose cubins replace those compiled in.
    pub kernels: Option<PathBuf>,
    /// Which implementation computes GEMMs.
    pub gemm: GemmChoice,
    /// Files to try as the GEMM library.
    pub library_files: Vec<PathBuf>,
}

/// The executor of `name`: `cpu`, `cuda:N`, or `auto` for the one that [`choose`] takes.
///
/// # Errors
/// [`Error::Request`] for any other name; [`Error::Device`] if the GPU or the library cannot be used.
pub fn open(name: &str, options: &Options) -> Result<Box<dyn Executor>> {
    match name {
        "auto" => Ok(choose(options).0),
        "cpu" => Ok(Box::new(Cpu)),
        _ => executor(&open_gpu(name, options.kernels.as_deref())?, options),
    }
}

/// The GPU `cuda:N`, for commands that need one; `kernels` as in [`Options`].
///
/// # Errors
/// Those of [`open`]; [`Error::Device`] for the CPU.
pub fn open_gpu(name: &str, kernels: Option<&Path>) -> Result<Arc<Driver>> {
    if matches!(name, "auto" | "cpu") {
        return Err(Error::device("this needs a GPU").with_hint(Hint::Give(Field::Device)));
    }
    let ordinal: Option<usize> = name
        .strip_prefix("cuda:")
        .and_then(|number| number.parse().ok());
    let ordinal = ordinal.ok_or_else(|| {
        Error::request(Field::Device, "must be auto, cpu or cuda:N").found(format!("`{name}`"))
    })?;
    let driver = Driver::open(ordinal, kernels).map(Arc::new);
    driver.map_err(|error| match error {
        Error::Device { problem, .. } => {
            Error::device(format!("{name} cannot be used: {problem}")).with_hint(Hint::USE_CPU)
        }
        error => error,
    })
}

/// The first GPU if it can run the kernels, else the CPU; with a line that says which and why.
pub fn choose(options: &Options) -> (Box<dyn Executor>, String) {
    let driver = Driver::open(0, options.kernels.as_deref()).map(Arc::new);
    choice(driver.and_then(|driver| executor(&driver, options)))
}

fn choice(gpu: Result<Box<dyn Executor>>) -> (Box<dyn Executor>, String) {
    match gpu {
        Ok(executor) => {
            let which = format!("running on {}", executor.name());
            (executor, which)
        }
        Err(error) => {
            let which = format!("running on the CPU: {}", error.facts(quoted));
            (Box::new(Cpu), which)
        }
    }
}

fn executor(driver: &Arc<Driver>, options: &Options) -> Result<Box<dyn Executor>> {
    let executor = Cuda::new(driver.clone());
    if options.gemm == GemmChoice::Own {
        return Ok(Box::new(executor));
    }
    let executor = match open_gemm_library(driver, &options.library_files) {
        Ok(backend) => executor.with_library(GemmPolicy {
            backend,
            choice: options.gemm,
        }),
        Err(_) if options.gemm == GemmChoice::Auto => executor,
        Err(error) => return Err(error),
    };
    Ok(Box::new(executor))
}

/// cuBLASLt on a GPU: the first of `files` that exists, else the one that the system's loader finds.
///
/// # Errors
/// [`Error::Device`] if none can be used; [`Error::Memory`] if there is too little for its workspace.
pub fn open_gemm_library(driver: &Arc<Driver>, files: &[PathBuf]) -> Result<Arc<dyn GemmBackend>> {
    Ok(Arc::new(CublasLt::open(driver, files)?))
}

/// The first GPU.
///
/// # Errors
/// A sentence for the user that says why there is none.
pub fn gpu() -> std::result::Result<GpuInfo, String> {
    let first = cuda::gpus()?.into_iter().next();
    first.ok_or_else(|| "the NVIDIA driver offers no GPU".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_open_the_cpu_or_say_what_to_do() {
        assert_eq!(open("cpu", &Options::default()).unwrap().name(), "cpu");
        for bad in ["gpu", "cuda", "cuda:", "cuda:-1", ""] {
            let error = open(bad, &Options::default()).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{bad}: {error}");
        }
        let error = open("cuda:4096", &Options::default()).err().unwrap();
        assert_eq!(error.exit_code(), 5);
        assert_eq!(error.hint(), Some(Hint::USE_CPU), "{error}");
        assert!(!build_note().is_empty());
    }

    #[test]
    fn auto_says_what_it_took_and_why() {
        let error = Error::device("built without GPU kernels").with_hint(Hint::USE_CPU);
        let (executor, which) = choice(Err(error));
        assert_eq!(executor.name(), "cpu");
        assert_eq!(which, "running on the CPU: built without GPU kernels");
        let (executor, which) = choice(Ok(Box::new(Cpu)));
        assert_eq!(which, format!("running on {}", executor.name()));
        let (taken, why) = choose(&Options::default());
        assert!(why.starts_with("running on ") && why.len() > 15, "{why}");
        assert_eq!(
            open("auto", &Options::default()).unwrap().name(),
            taken.name()
        );
    }
}
