//! The entry points of `kernels/*.cu` as Rust sees them: one module per file, with its constants and, for each entry
//! point, a structure of typed arguments.
//!
//! `build.rs` writes the modules from the signatures in the sources, with or without nvcc. So a size is written once,
//! and an argument cannot change its place or its type unnoticed.

#[allow(
    unused_imports,
    reason = "what the kernels' signatures use of it changes with the kernels"
)]
use super::{
    arguments::{Arg, Dev, DevMut, E4m3, Entry, Kernel, bf16},
    params::{AttentionTile, GemmTile},
    tensor_map::TensorMap,
};

include!(concat!(env!("OUT_DIR"), "/stubs.rs"));
