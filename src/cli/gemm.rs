//! Who computes matrix products on a GPU, for the subcommands that measure and compare.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::device::{GemmChoice, library_files};

#[derive(Args, Debug)]
pub(super) struct GemmArgument {
    /// Who computes matrix products on a GPU; `auto` measures, so that its results may differ between two processes in
    /// the last bit
    #[arg(long, value_enum, default_value_t = Gemm::Own)]
    pub(super) gemm: Gemm,
}

#[derive(Clone, Copy, Debug, ValueEnum, PartialEq, Eq)]
pub(super) enum Gemm {
    /// This program
    Own,
    /// NVIDIA's library wherever it can, in place of fused steps too
    Cublaslt,
    /// Whoever is faster for a shape; this program where there is no library
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

/// Where NVIDIA's library may lie: the file that `GALLOP_CUBLASLT` names, this folder's tool chain, the Python
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
