//! The edge to NVIDIA GPUs: which kernels were compiled in, and which GPUs the driver offers.
//!
//! Nothing here links to a CUDA library; the driver is opened at run time, and its absence is an answer, not a
//! panic. Invariant: knows plans, not models; never imports `cpu`. Start with [`gpus`].

mod cubins;
mod probe;

pub use cubins::{build_note, cubins};
pub use probe::{Gpu, gpus};
