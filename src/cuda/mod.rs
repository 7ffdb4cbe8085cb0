//! The edge to NVIDIA GPUs: which kernels were compiled in, and which GPUs the driver offers.
//!
//! Nothing here links to a CUDA library; the driver is opened at run time, and its absence is an answer, not a
//! panic. Invariant: knows plans, not models; never imports `cpu`. Start with [`Device`], what executors need of a
//! GPU, [`kernels`], what there is to launch, and [`Cuda`], which runs plans.

mod arena;
pub mod arguments;
pub mod attention_work;
pub mod conformance;
mod cubins;
pub mod cublaslt;
mod cublaslt_library;
pub mod device;
mod driver;
mod executor;
mod fuse;
mod handles;
pub mod kernels;
mod launch;
mod lower;
pub mod measure;
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
pub mod params;
mod probe;
pub mod products;
mod program;
#[cfg(test)]
mod signature;
mod stream;
#[cfg(test)]
mod stubs;
pub mod tensor_map;
#[cfg(test)]
mod tests;
mod transfer;
mod upload;

pub use arguments::{Arg, Dev, DevMut, E4m3, Entry};
pub use cubins::{build_note, cubins};
pub use cublaslt_library::{open_library, search_order};
pub use device::{Device, Launch, Memory};
pub use driver::Driver;
pub use executor::{Cuda, needs};
pub use probe::{Gpu, gpus};
pub use tensor_map::{TensorMap, TensorMapSpec};
