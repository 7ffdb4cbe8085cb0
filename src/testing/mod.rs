//! Shared by tests, benches and `gallop verify`: golden cases and how they are judged, and cases of kernels.

pub mod cases;
mod compare;
pub mod conformance;
pub mod golden;
mod judge;
mod precision;
pub mod rates;

pub use compare::{DIRECTION, compare};
pub use judge::{Check, Verdict, Worst, max_abs, relative_l2};
pub use precision::{LayerError, between};
