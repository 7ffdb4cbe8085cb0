//! Mutation tests of the GEMM kernels: of what they share, of bf16 and of FP8.

use gallop::{
    DType::{Bf16, E4m3},
    plan::Scaling,
};

use super::{Mutation, expect_killed, mutation};
use crate::{
    emulate::{Edit, Emulator},
    gemm::{Case, Epilogue, check_long},
};

/// The ring of two blocks, their tiles and their stores.
const SHARED: &[Mutation] = &[
    mutation(
        "gemm.cuh",
        ["more registers than a block has", "wait for registers"],
        [
            "REGISTERS = 24;\nconstexpr int CONSUMER_REGISTERS = 240;\nstatic_assert(",
            "REGISTERS = 32;\nconstexpr int CONSUMER_REGISTERS = 240;\nstatic_assert(true || ",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["no cluster barrier after mbarrier init", "mbarrier 0x"],
        [
            "    cluster_sync();  // the other block's barriers are there\n",
            "    __syncthreads();\n",
        ],
    ),
    mutation(
        "gemm.cuh",
        [
            "no fence after mbarrier init",
            "without fence_mbarrier_init",
        ],
        ["        fence_mbarrier_init();\n", ""],
    ),
    mutation(
        "gemm.cuh",
        ["no cluster barrier before exit", "which has ended"],
        [
            "    cluster_sync();  // nobody loads or signals into a block that has ended\n",
            "",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["producer does not wait for an empty stage", ""],
        [
            "            mbarrier_wait(&s.empty[at.stage], at.parity ^ 1);\n",
            "",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["producer waits for its own block only", "arrivals"],
        ["4 * CONSUMERS * CLUSTER);", "4 * CONSUMERS);"],
    ),
    mutation(
        "gemm.cuh",
        ["stage released to its own block only", "deadlock"],
        [
            "if (lane < CLUSTER) mbarrier_arrive_cluster(&s.empty[stage], lane);",
            "if (lane == 0) mbarrier_arrive(&s.empty[stage]);",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["stage of the first block released twice", ""],
        [
            "mbarrier_arrive_cluster(&s.empty[stage], lane);",
            "mbarrier_arrive_cluster(&s.empty[stage], 0);",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["w loaded into the first block only", "deadlock"],
        ["(1 << CLUSTER) - 1", "1"],
    ),
    mutation(
        "gemm.cuh",
        [
            "w loaded into a block that is not there",
            "of a cluster of 2",
        ],
        ["(1 << CLUSTER) - 1", "7"],
    ),
    mutation(
        "gemm.cuh",
        ["both blocks load the same half of w", "wrong numbers"],
        ["t.weight_row + rank * SHARE_N", "t.weight_row"],
    ),
    mutation(
        "gemm.cuh",
        ["both halves of w in one place", ""],
        ["s.w[at.stage] + rank * SHARE_N * SPAN", "s.w[at.stage]"],
    ),
    mutation(
        "gemm.cuh",
        ["x of the first block in both", "wrong numbers"],
        ["t.row + rank * TILE_M", "t.row"],
    ),
    mutation(
        "gemm.cuh",
        ["a block without rows does not take part", "deadlock"],
        [
            "        for (int col = 0; col < walk.k; col += TILE_K) {\n            mbarrier_wait",
            "        for (int col = 0; col < walk.k && row < t.end; col += TILE_K) {\n            mbarrier_wait",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["wrong expect_tx byte count", "-128 bytes missing"],
        [
            "mbarrier_arrive_expect_tx(&s.full[at.stage], STAGE_BYTES)",
            "mbarrier_arrive_expect_tx(&s.full[at.stage], STAGE_BYTES - 128)",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["wrong parity", "deadlock"],
        ["at.parity ^ 1", "at.parity"],
    ),
    mutation(
        "gemm.cuh",
        ["parity not flipped when the ring wraps", ""],
        ["            parity ^= 1;\n", ""],
    ),
    mutation(
        "gemm.cuh",
        ["wrong swizzle in a descriptor", ""],
        [
            "s.w[stage] + row * SPAN, 16, GROUP_BYTES, Swizzle::B128",
            "s.w[stage] + row * SPAN, 16, GROUP_BYTES, Swizzle::B64",
        ],
    ),
    mutation(
        "gemm.cuh",
        [
            "no proxy fence before the TMA store",
            "without fence_proxy_async",
        ],
        ["        fence_proxy_async();\n", ""],
    ),
    mutation(
        "gemm.cuh",
        ["no barrier in front of the TMA store", ""],
        [
            "        fence_proxy_async();\n        named_barrier_sync(STORE + part.warpgroup, 128);\n",
            "        fence_proxy_async();\n",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["buffer reused while its TMA store may read it", ""],
        ["        if (thread == 0) bulk_wait_read<1>();\n", ""],
    ),
    mutation(
        "gemm.cuh",
        ["the same buffer for every box", ""],
        ["[boxes++ % 2]", "[0]"],
    ),
    mutation(
        "gemm.cuh",
        [
            "no wait for the TMA store before exit",
            "before its TMA store has read",
        ],
        ["    if (threadIdx.x % 128 == 0) bulk_wait_read<0>();\n", ""],
    ),
    mutation(
        "gemm.cuh",
        ["rows of the next group overwritten", ""],
        ["part.row + 64 <= part.end || part.end == m", "true"],
    ),
];

const BF16: &[Mutation] = &[
    mutation(
        "gemm_bf16.cu",
        ["consumer does not wait for a full stage", "wrong numbers"],
        [
            "            mbarrier_wait(&s.full[at.stage], at.parity);\n",
            "",
        ],
    ),
    mutation(
        "gemm_bf16.cu",
        ["no wgmma_fence", "without wgmma_fence"],
        ["            wgmma_fence();\n", ""],
    ),
    mutation(
        "gemm_bf16.cu",
        ["stage released before the product is done", "wrong numbers"],
        [
            "if (before >= 0) release(s, before);",
            "release(s, at.stage);",
        ],
    ),
    mutation(
        "gemm_bf16.cu",
        ["last wait missing", "has not waited for"],
        ["        wgmma_wait<0>();\n", ""],
    ),
    mutation(
        "gemm_bf16.cu",
        ["old accumulators counted", "wrong numbers"],
        ["col + i);", "1);"],
    ),
];

const FP8: &[Mutation] = &[
    mutation(
        "gemm_fp8.cu",
        ["consumer does not wait for a full stage", "wrong numbers"],
        [
            "            mbarrier_wait(&shared.full[at.stage], at.parity);\n",
            "",
        ],
    ),
    mutation(
        "gemm_fp8.cu",
        ["stage released after its first half", "wrong numbers"],
        ["if (half == 1) release", "if (half == 0) release"],
    ),
    mutation(
        "gemm_fp8.cu",
        [
            "stage released before its products are done",
            "wrong numbers",
        ],
        [
            "                wgmma_wait<0>();\n                wgmma_pin(part);\n                if (half == 1) release(shared, at.stage);\n",
            "                if (half == 1) release(shared, at.stage);\n                wgmma_wait<0>();\n                wgmma_pin(part);\n",
        ],
    ),
    mutation(
        "gemm_fp8.cu",
        ["sums read before the wait", ""],
        ["                wgmma_wait<0>();\n", ""],
    ),
    mutation(
        "gemm_fp8.cu",
        ["old sums of the stage counted again", "wrong numbers"],
        ["x + 2 * i, w + 2 * i, i);", "x + 2 * i, w + 2 * i, 1);"],
    ),
    mutation(
        "gemm_fp8.cu",
        ["only the last stage counts", "wrong numbers"],
        ["i] += part[i];", "i] = part[i];"],
    ),
    mutation(
        "gemm_fp8.cu",
        ["the same columns twice", "wrong numbers"],
        ["half * TILE_N / 2);", "0);"],
    ),
    mutation(
        "gemm_fp8.cu",
        ["scales of the first rows for all", "wrong numbers"],
        ["acc[i + 2] *= row_scale[1]", "acc[i + 2] *= row_scale[0]"],
    ),
    mutation(
        "gemm_fp8.cu",
        ["weight scales of the first group", "wrong numbers"],
        ["ws[part.weight_row + col]", "ws[part.col + col]"],
    ),
];

/// What is made of a product.
const MADE: &[Mutation] = &[
    mutation(
        "gemm.cuh",
        ["activation of the sums themselves", "wrong numbers"],
        [
            "        round_pair(a, b);\n        if constexpr (ACT == Act::SWIGLU7)",
            "        if constexpr (ACT == Act::SWIGLU7)",
        ],
    ),
    mutation(
        "gemm.cuh",
        [
            "activation not rounded in front of its 8 bits",
            "wrong numbers",
        ],
        [
            "            round_pair(a, b);\n            a *= factor;",
            "            a *= factor;",
        ],
    ),
    mutation(
        "gemm.cuh",
        ["pieces of a box not swizzled", "wrong numbers"],
        ["(byte / 16 ^ line % 8) * 16", "byte / 16 * 16"],
    ),
    mutation(
        "gemm_fp8.cu",
        ["scales of the next rows", ""],
        ["s && row < part.end ? s[", "s ? s[1 + "],
    ),
];

/// All terms of a tile are summed where only 13 bits are kept.
const NOT_PROMOTED: [[&str; 2]; 3] = [
    [
        "float part[ACC / 2];",
        "float(&part)[ACC / 2] = *reinterpret_cast<float(*)[ACC / 2]>(acc + half * ACC / 2);",
    ],
    ["w + 2 * i, i);", "w + 2 * i, 1);"],
    ["acc[half * ACC / 2 + i] += part[i];", ";"],
];

/// Rings that wrap within a tile and between tiles, boxes of two tiles, and two groups within reach of a tile, that
/// different clusters compute. In the second group block 1 has two rows, in the first it has none.
const CASE: Case = Case {
    ends: &[100, 230],
    n: 264,
    k: 500,
    scaling: Scaling::None,
    epilogue: Epilogue::Store(Bf16),
    clusters: 3,
};

#[test]
fn every_mistake_in_the_gemm_is_found() {
    let (tensors, want) = CASE.whole_numbers();
    let product = CASE.prepare(&tensors);
    for mutations in [SHARED, BF16] {
        expect_killed("gemm_bf16.cu", mutations, |emulator, run| {
            product.check_exactly(emulator, run, &want)
        });
    }
}

#[test]
fn every_mistake_in_the_gemm_in_fp8_is_found() {
    let case = Case {
        n: 136,
        k: 600,
        scaling: Scaling::Rows,
        ..CASE
    };
    let (tensors, want) = case.whole_numbers();
    let product = case.prepare(&tensors);
    expect_killed("gemm_fp8.cu", FP8, |emulator, run| {
        product.check_exactly(emulator, run, &want)
    });
    let case = Case {
        n: 80,
        k: 100,
        epilogue: Epilogue::SwiGlu7(E4m3),
        ..case
    };
    let (tensors, want) = case.whole_numbers();
    let product = case.prepare(&tensors);
    expect_killed("gemm_fp8.cu", MADE, |emulator, run| {
        product.check_exactly(emulator, run, &want)
    });
    let file = "gemm_fp8.cu";
    let edits = NOT_PROMOTED.map(|[find, replace]| Edit {
        file,
        find,
        replace,
    });
    let unpromoted = check_long(Emulator::load_edited(file, &edits)).unwrap_err();
    assert!(unpromoted.contains("wrong numbers"), "{unpromoted}");
}
