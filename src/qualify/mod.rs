//! Checks that a device computes what the CPU computes: cases for each kernel and instruction, a comparison of plans step
//! by step, and the judge of all differences.

pub mod cases;
mod compare;
pub mod instructions;
mod judge;
mod precision;

pub use compare::compare;
pub use judge::{Check, Verdict, Worst, max_abs, relative_l2};
pub use precision::{LayerError, between};
