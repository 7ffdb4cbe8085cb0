//! The GPU kernels, run on the CPU by the emulator of `tests/emulate`, against the ops of the CPU executor; and mutations
//! of the kernels, which must be found.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    unsafe_code,
    reason = "a test stops at the first surprise and says what it ran; the emulator is a C library"
)]

mod attention;
mod bytes;
mod conformance;
mod conv3d;
#[allow(dead_code, reason = "tests/cuda makes the device fail, too")]
#[path = "../emulate/mod.rs"]
mod emulate;
mod execute;
mod gemm;
#[path = "../common/in_memory.rs"]
mod in_memory;
mod mutation;
mod norm_silu;
mod plain;
#[path = "../common/random.rs"]
mod random;
mod rms_norm;
mod rows;
#[path = "../common/run.rs"]
mod run;
mod tolerance;

use std::process::Command;

/// Seeds of every kernel test, each under three policies.
const SEEDS: u64 = 10;

#[test]
fn generated_products_are_what_the_generator_writes() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/wgmma_gen.sh");
    let output = Command::new("sh").arg(script).output().unwrap();
    let written = String::from_utf8(output.stdout).unwrap();
    let stored = include_str!("../../kernels/sm90/wgmma_gen.cuh");
    assert!(
        output.status.success() && written == stored,
        "run tools/wgmma_gen.sh > kernels/sm90/wgmma_gen.cuh"
    );
}
