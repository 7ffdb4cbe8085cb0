//! The GPU as executors see it: the device and its driver, kernels and their arguments, tensor maps, cuBLASLt.

pub mod arguments;
pub(super) mod cubins;
pub mod cublaslt;
pub(super) mod cublaslt_library;
pub mod device;
pub(super) mod driver;
pub mod gemm_backend;
pub(super) mod handles;
pub mod kernels;
#[allow(clippy::allow_attributes_without_reason, reason = "generated")]
pub mod params;
pub(super) mod probe;
pub mod tensor_map;
