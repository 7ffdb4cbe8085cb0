//! From the name of a device to its executor: the only file that names `cpu` and `cuda`.

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
        products::{Library, Products},
    },
    executor::Executor,
};

pub use cuda::{
    Device, Driver, Gpu, build_note, open_library, products::Choice, search_order as library_files,
};

/// How a GPU is opened; the CPU needs nothing.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// A folder whose cubins it runs instead of those that were compiled in.
    pub kernels: Option<PathBuf>,
    /// Who computes matrix products.
    pub gemm: Choice,
    /// Files that may be the library for that.
    pub library_files: Vec<PathBuf>,
}

/// The executor that `name` asks for: `auto`, `cpu` or `cuda:N`.
///
/// # Errors
/// [`Error::Request`] for any other name, [`Error::Device`] if a GPU or a library is asked for that cannot be used.
pub fn open(name: &str, options: &Options) -> Result<Box<dyn Executor>> {
    if matches!(name, "auto" | "cpu") {
        return Ok(Box::new(Cpu));
    }
    let driver = open_gpu(name, options.kernels.as_deref())?;
    let executor = Cuda::new(driver.clone());
    if options.gemm == Choice::Own {
        return Ok(Box::new(executor));
    }
    Ok(Box::new(
        match open_products(&driver, &options.library_files) {
            Ok(products) => executor.with_library(Library::new(products, options.gemm)),
            Err(_) if options.gemm == Choice::Auto => executor,
            Err(error) => return Err(error),
        },
    ))
}

/// NVIDIA's library of products on a GPU: the first of `files` that exists, or where the system has it.
///
/// # Errors
/// [`Error::Device`] if there is none that can be used; [`Error::Memory`].
pub fn open_products(driver: &Arc<Driver>, files: &[PathBuf]) -> Result<Arc<dyn Products>> {
    Ok(Arc::new(CublasLt::open(driver, files)?))
}

/// The GPU `cuda:N`, for what only a GPU can do, with `kernels` as in [`Options`].
///
/// # Errors
/// As for [`open`]; [`Error::Device`] for the CPU.
pub fn open_gpu(name: &str, kernels: Option<&Path>) -> Result<Arc<Driver>> {
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
    let driver = Driver::open(ordinal, kernels);
    driver.map(Arc::new).map_err(|error| unusable(name, error))
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
        assert_eq!(open("auto", &Options::default()).unwrap().name(), "cpu");
        assert_eq!(open("cpu", &Options::default()).unwrap().name(), "cpu");
        for bad in ["gpu", "cuda", "cuda:", "cuda:-1", ""] {
            let error = open(bad, &Options::default()).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{bad}: {error}");
        }
        let error = open("cuda:4096", &Options::default()).err().unwrap();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().ends_with("use --device cpu"), "{error}");
        assert!(!build_note().is_empty());
    }
}
