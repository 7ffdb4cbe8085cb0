//! Programs on a GPU: plans lowered to launches, weights brought to the device, launches replayed and timed.

pub mod conformance;
pub(super) mod executor;
pub(super) mod gemm_select;
pub(super) mod layer_streaming;
pub(super) mod loaded;
pub(super) mod lower;
pub mod measure;
pub(super) mod program;
pub(super) mod transfer;
pub(super) mod upload;
pub(super) mod weight_memory;
