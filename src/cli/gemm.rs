//! Choice of the GEMM implementation on a GPU, for the subcommands that measure and compare.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::device::{GemmChoice, library_files};

#[derive(Args, Debug)]
pub(super) struct GemmArgument {
    /// Which implementation computes GEMMs on a GPU; `auto` measures, so the last bits of its results may differ between
    /// two processes
    #[arg(long, value_enum, default_value_t = Gemm::Own)]
    pub(super) gemm: Gemm,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(super) enum Gemm {
    /// This program's kernels
    Own,
    /// NVIDIA's cuBLASLt wherever it can, even instead of fused kernels
    Cublaslt,
    /// The faster one for each shape; this program's kernels without the library
    Auto,
}

impl Gemm {
    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Cublaslt => "cublaslt",
            Self::Auto => "auto",
        }
    }
}

impl From<Gemm> for GemmChoice {
    fn from(gemm: Gemm) -> Self {
        match gemm {
            Gemm::Own => Self::Own,
            Gemm::Cublaslt => Self::CublasLt,
            Gemm::Auto => Self::Auto,
        }
    }
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
