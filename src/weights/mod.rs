//! Checkpoints on disk: found, checked, then read; and synthetic ones made by rule.

pub mod source;

pub use source::{Info, Selected, Source, Want, Weights, check_finite};
