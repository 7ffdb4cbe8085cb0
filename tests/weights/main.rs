//! Checkpoints: good files of every kind, hostile ones, synthetic ones, and whole model folders.

#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail as its own lines do"
)]

mod changes;
mod folders;
mod fuzz;
mod large;
mod mapped;
mod quantized;
mod scratch;
mod synthetic;
mod torch;
mod torch_writer;
