//! The reference executor: one plain function per op, rounding only to the type of the result's buffer.
//!
//! Values are f32 in memory whatever a buffer's type; a store rounds them. Sums of norms and softmax are f64. Matmuls
//! (linear layers, convolutions, attention) sum in f32 in a fixed order that depends only on shapes, so the result is
//! the same for any number of threads. Against the goldens' f64 runs whole networks differ by a few 1e-6, far below
//! the allowed 1e-5 to 1e-4.
//!
//! Invariant: knows plans, not models; never imports `cuda`. Start with [`Cpu`].

mod activation;
mod arg;
mod attention;
mod conv1d;
mod conv3d;
mod elementwise;
mod embed;
mod executor;
mod gemm;
mod linear;
mod memory;
mod norm;
mod patch;
mod pixels;
mod quantize;
mod rope;

pub use executor::Cpu;
pub use gemm::{Matrix, gemm};
pub(crate) use memory::bytes_of;
