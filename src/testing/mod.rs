//! Shared by tests, benches and `gallop verify`: golden cases and how they are judged, and cases of kernels.

pub mod cases;
mod compare;
pub mod conformance;
pub mod golden;
mod judge;
pub mod rates;

pub use compare::compare;
pub use judge::{Check, Verdict, Worst, max_abs, relative_l2};
