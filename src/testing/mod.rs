//! Shared by tests, benches and `gallop verify`: golden cases and how they are judged.

pub mod golden;
mod judge;

pub use judge::{Check, Verdict, Worst, max_abs, relative_l2};
