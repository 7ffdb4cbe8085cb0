//! NVIDIA GPUs: the executor, and the kernels that it launches.
//!
//! Nothing here links to a CUDA library: the driver is opened at run time, and a missing one is an answer, not a panic.
//! Invariant: knows plans, not models; never imports `cpu`. Start with [`Device`], what executors need of a GPU,
//! [`kernels`], the entry points, and [`Cuda`], which runs plans.

pub mod gpu;
mod launch;
pub mod lowering;
pub mod run;

pub use gpu::{
    arguments::{self, Arg, Dev, DevMut, E4m3, Entry},
    cubins::{build_note, cubins},
    cublaslt,
    cublaslt_library::{open_library, search_order},
    device::{self, Device, Launch, Memory},
    driver::Driver,
    gemm_backend, kernels, params,
    probe::{GpuInfo, gpus},
    tensor_map::{self, TensorMap, TensorMapSpec},
};
pub use lowering::attention_tiles;
pub use run::{
    conformance,
    executor::{Cuda, needs},
    measure,
};
