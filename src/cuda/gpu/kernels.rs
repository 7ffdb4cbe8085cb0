//! The entry points of `kernels/*/*.cu` as Rust sees them: one module per file, with its constants and, for each entry
//! point, a structure of typed arguments.
//!
//! `build.rs` writes the modules from the signatures in the sources, with or without nvcc. So a size is written once, and
//! Rust cannot mistake the order or the type of an argument.

#[allow(
    unused_imports,
    reason = "what the kernels' signatures use of it changes with the kernels"
)]
use super::{
    arguments::{AnyDev, Arg, Arguments, Dev, DevMut, E4m3, Entry, Instance, Kernel, bf16},
    params::{
        AttentionShape, AttentionTile, Conv1dShape, ConvShape, GemmShape, GemmTile, PixelShape,
        QuantizedNorm, RowScales,
    },
    tensor_map::TensorMap,
};
use crate::DType;

include!(concat!(env!("OUT_DIR"), "/stubs.rs"));
