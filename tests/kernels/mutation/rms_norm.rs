//! Mutations of `kernels/common/rms_norm.cu`.

use gallop::DType;

use super::{Mutation, expect_killed, mutation};
use crate::rms_norm;

/// Sums over warps and blocks.
const NORM: &[Mutation] = &[
    mutation(
        "common.cuh",
        ["no barrier in the block's sum", ""],
        ["    __syncthreads();\n", ""],
    ),
    mutation(
        "common.cuh",
        ["a step short in the warp's sum", ""],
        ["lane > 0; lane /= 2) x +=", "lane > 1; lane /= 2) x +="],
    ),
];

#[test]
fn every_mistake_in_the_norm_is_found() {
    let case = rms_norm::Case {
        x: DType::Bf16,
        rows: 3,
        runs: 1,
        cols: 2056,
        ends: &[1, 3],
    };
    let prepared = case.prepare();
    expect_killed("rms_norm.cu", NORM, |emulator, run| {
        prepared.check(emulator, run)
    });
}
