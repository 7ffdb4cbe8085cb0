//! The kernels of the video autoencoders, launched by the executor and run on the CPU by the emulator of `tests/emulate`,
//! against the ops of the CPU executor.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    dead_code,
    unused_imports,
    unsafe_code,
    reason = "a test stops at the first surprise and says what it ran; the emulator is a C library"
)]

#[path = "kernels/bytes.rs"]
mod bytes;
#[path = "kernels/conv3d.rs"]
mod conv3d;
mod emulate;
#[path = "kernels/execute.rs"]
mod execute;
#[path = "kernels/find.rs"]
mod find;
#[path = "common/in_memory.rs"]
mod in_memory;
#[path = "kernels/judge.rs"]
mod judge;
#[path = "kernels/conv3d_mistakes.rs"]
mod mistakes;
#[path = "kernels/norm_silu.rs"]
mod norm_silu;
#[path = "common/random.rs"]
mod random;
#[path = "common/run.rs"]
mod run;

/// Seeds of every asynchronous kernel, each under three policies.
const SEEDS: u64 = 10;
