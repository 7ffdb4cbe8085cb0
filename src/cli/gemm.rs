//! Choice of the GEMM implementation on a GPU, for the subcommands that measure and compare.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::device::{GemmChoice, library_files};

#[derive(Args, Debug)]
pub(super) struct GemmArgument {
    /// Which implementation computes GEMMs on a GPU; `auto` measures, so the last bits of its results may differ between
    /// two processes
    #[arg(long, value_enum, default_value_t = GemmChoice::Own)]
    pub(super) gemm: GemmChoice,
}

/// Files to try as NVIDIA's library: the one that `GALLOP_CUBLASLT` names, this folder's tool chain, the Python
/// environment.
pub(super) fn files() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let python = variable("VIRTUAL_ENV").map(PathBuf::from);
    library_files(
        variable("GALLOP_CUBLASLT").map(PathBuf::from),
        Path::new(""),
        python.as_deref(),
    )
}
