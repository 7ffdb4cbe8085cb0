//! A model described once: a flat list of ops over named, typed buffers, for the shapes of one request.
//!
//! A model function emits ops through [`Builder`]; the result is a [`Plan`], which executors run. `cost` computes
//! FLOPs and bytes, `lifetime` the memory layout, `text` a printable form. Rounding is explicit: a value is rounded to
//! the type of its buffer when it is stored, and nowhere else.
//!
//! Invariant: nothing here knows of devices; no kernel, pointer or stream appears.

mod buffer;
mod build_conv;
mod build_token;
mod builder;
mod cost;
mod lifetime;
mod op;
#[allow(
    clippy::module_inception,
    reason = "the type Plan deserves the file of its name"
)]
mod plan;
mod quantize;
mod tensors;
mod text;

pub use buffer::{Buf, Part, Role, Spec};
pub use build_conv::{Kernel1d, Kernel3d};
pub use build_token::{Dense, Norm, Scale};
pub use builder::Builder;
pub use cost::Cost;
pub use lifetime::Arena;
pub use op::{
    Attention, Conv1d, Conv3d, Grid, MaskBlock, NormWeight, Op, PaddingMode, PixelOrder, RmsNorm,
    Scaling,
};
pub use plan::{Plan, Segment, Step};
pub use tensors::{ListedTensor, TensorList};
