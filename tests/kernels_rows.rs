//! The kernels of rows and elements, run on the CPU by the emulator of `tests/emulate`, against the ops of the CPU
//! executor. The cases are those of `src/testing/cases.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    dead_code,
    unsafe_code,
    reason = "a test stops at the first surprise and says what it ran; the emulator is a C library"
)]

mod emulate;
#[path = "common/in_memory.rs"]
mod in_memory;
#[path = "kernels/judge.rs"]
mod judge;
#[path = "common/random.rs"]
mod random;
#[path = "kernels/rows/mod.rs"]
mod rows;
#[path = "common/run.rs"]
mod run;
