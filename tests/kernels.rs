//! The GPU kernels, run on the CPU by the emulator of `tests/emulate`, against the ops of the CPU executor.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    unsafe_code,
    reason = "a test stops at the first surprise and says what it ran; the emulator is a C library"
)]

#[path = "kernels/conformance.rs"]
mod conformance;
mod emulate;
#[path = "kernels/find.rs"]
mod find;
#[path = "kernels/gemm.rs"]
mod gemm;
#[path = "kernels/gemm_mistakes.rs"]
mod gemm_mistakes;
#[path = "common/in_memory.rs"]
mod in_memory;
#[path = "kernels/judge.rs"]
mod judge;
#[path = "kernels/mistakes.rs"]
mod mistakes;
#[path = "kernels/plain/mod.rs"]
mod plain;
#[path = "kernels/planted.rs"]
mod planted;
#[path = "common/random.rs"]
mod random;
#[path = "kernels/rms_norm.rs"]
mod rms_norm;
#[path = "common/run.rs"]
mod run;

use std::process::Command;

/// Seeds of every kernel test, each under three policies.
const SEEDS: u64 = 10;

#[test]
fn generated_products_are_what_the_generator_writes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/wgmma_gen.sh");
    let output = Command::new("sh").arg(script).output().unwrap();
    let written = String::from_utf8(output.stdout).unwrap();
    let stored = include_str!("../kernels/sm90/wgmma_gen.cuh");
    assert!(
        output.status.success() && written == stored,
        "run tools/wgmma_gen.sh > kernels/sm90/wgmma_gen.cuh"
    );
}
