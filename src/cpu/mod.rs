//! The truth: one plain function per op, rounding where the buffer's type says so and nowhere else.
//!
//! Values are f32 in memory whatever a buffer's type; a store rounds them to that type. Sums of norms and
//! softmax are f64. Matrix products (linear layers, convolutions, attention) sum in f32 in a fixed order that
//! depends on shapes alone, so the result is the same for any number of threads; against the goldens' f64 runs
//! the whole networks stay within a few 1e-6, far below the 1e-5 to 1e-4 that is allowed.
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
