//! Host tensors: a shape, an element type and bytes. They carry data between stages, to and from programs, and out of
//! checkpoint files. Arithmetic is in `plan` and the executors.
//!
//! Read [`Tensor`] first.

mod bands;
mod dtype;
mod format;
mod shape;
mod storage;

pub use bands::ROPE_BANDS;
pub use dtype::{DType, E4M3_MAX, e4m3_from_f32, e4m3_scale, e4m3_to_f32, round_bf16};
pub use format::{Format, Granularity, LayerFormats, summary};
pub use shape::Shape;
pub use storage::{Bytes, Tensor};
