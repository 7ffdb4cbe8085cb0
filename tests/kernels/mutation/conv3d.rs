//! Mutation tests of `kernels/sm90/conv3d.cu`: the emulator, or the comparison with the CPU executor, must find each.

use gallop::plan::PaddingMode;

use super::{Mutation, expect_killed, mutation};
use crate::conv3d::Case;

const FILE: &str = "conv3d.cu";

const MUTATIONS: &[Mutation] = &[
    mutation(
        FILE,
        ["no barrier after mbarrier init", "is not initialised"],
        ["    }\n    __syncthreads();\n", "    }\n"],
    ),
    mutation(
        FILE,
        [
            "no fence after mbarrier init",
            "without fence_mbarrier_init",
        ],
        ["        fence_mbarrier_init();\n", ""],
    ),
    mutation(
        FILE,
        ["box loaded to a stage in use", ""],
        [
            "        mbarrier_wait(&s.x_empty[at_x.stage], at_x.parity ^ 1);\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["weights loaded to a stage in use", ""],
        [
            "            mbarrier_wait(&s.w_empty[at_w.stage], at_w.parity ^ 1);\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["wrong byte count of a box", "bytes missing"],
        ["(TILE_H + conv.kernel_h - 1)", "TILE_H"],
    ),
    mutation(
        FILE,
        ["box not waited for", "wrong numbers"],
        [
            "        mbarrier_wait(&s.x_full[at_x.stage], at_x.parity);\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["weights not waited for", "wrong numbers"],
        [
            "            mbarrier_wait(&s.w_full[at_w.stage], at_w.parity);\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["wrong parity of the boxes", "deadlock"],
        ["at_x.parity ^ 1", "at_x.parity"],
    ),
    mutation(
        FILE,
        ["wrong parity of the weights", "deadlock"],
        ["at_w.parity ^ 1", "at_w.parity"],
    ),
    mutation(
        FILE,
        ["parity not flipped when a ring wraps", ""],
        ["            parity ^= 1;\n", ""],
    ),
    mutation(
        FILE,
        ["no wgmma_fence", "without wgmma_fence"],
        ["            wgmma_fence();\n", ""],
    ),
    mutation(
        FILE,
        [
            "stages released before the product is done",
            "wrong numbers",
        ],
        ["            wgmma_wait<1>();\n", ""],
    ),
    mutation(
        FILE,
        ["box released before its last line is done", ""],
        [
            "if (column > 0 && l == 0) release(&s.x_empty[at_x.before()]);",
            "if (column + 1 < columns && l == 1) release(&s.x_empty[at_x.stage]);",
        ],
    ),
    mutation(
        FILE,
        ["last wait missing", "has not waited for"],
        ["    wgmma_wait<0>();\n", ""],
    ),
    mutation(
        FILE,
        ["old accumulators counted", "wrong numbers"],
        ["column + l + i);", "1);"],
    ),
    mutation(
        FILE,
        [
            "no proxy fence before the TMA store",
            "without fence_proxy_async",
        ],
        ["        fence_proxy_async();\n", ""],
    ),
    mutation(
        FILE,
        ["no barrier between stmatrix and TMA store", ""],
        [
            "        fence_proxy_async();\n        named_barrier_sync(STORE + warpgroup, 128);\n",
            "        fence_proxy_async();\n",
        ],
    ),
    mutation(
        FILE,
        ["buffer reused while its TMA store may read it", ""],
        ["        if (thread == 0) bulk_wait_read<1>();\n", ""],
    ),
    mutation(
        FILE,
        [
            "no wait for the TMA store before exit",
            "before its TMA store has read",
        ],
        ["    if (threadIdx.x % 128 == 0) bulk_wait_read<0>();\n", ""],
    ),
    mutation(
        FILE,
        ["weights of another column", "wrong numbers"],
        [
            "(k * conv.kernel_h + l) * conv.kernel_w + m",
            "(k * conv.kernel_h + l) * conv.kernel_w",
        ],
    ),
    mutation(
        FILE,
        ["every line of the kernel sees the first", "wrong numbers"],
        [
            "(half * STORE_LINES + l) * LINE",
            "half * STORE_LINES * LINE",
        ],
    ),
    mutation(
        FILE,
        ["every column of the kernel sees the first", "wrong numbers"],
        ["tile.w + m - conv.before_w", "tile.w - conv.before_w"],
    ),
    mutation(
        FILE,
        [
            "zeros in front of the first frame",
            "wrong numbers: frame 0",
        ],
        ["frame < 0 ? 0 : frame < frames", "frame < frames"],
    ),
    mutation(
        FILE,
        ["zeros behind the last frame", "wrong numbers: frame 1"],
        ["frame < frames ? frame : frames - 1", "frame"],
    ),
    mutation(
        FILE,
        ["frames behind the last left out", "wrong numbers: frame 1"],
        ["replicate || left > kernel_t", "left > kernel_t"],
    ),
];

#[test]
fn every_mistake_is_found() {
    // Two tiles for one of three blocks, each of six boxes and two lines of taps, so that both rings hold the producer
    // back, and go round twice and more; four boxes to store, with lines of every warp.
    let case = Case::same([2, 5, 17, 20], 72, [3, 2, 2], PaddingMode::Replicate);
    let (prepared, want) = case.whole_numbers();
    expect_killed(FILE, MUTATIONS, |emulator, run| {
        prepared.check_exactly(emulator, run, &want)
    });
}
