//! Mutation tests of the norm and of the kernels of single instructions.

use super::{Mutation, expect_killed, mutation};
use crate::conformance;

/// Two blocks that share their loads.
const MULTICAST: &[Mutation] = &[
    mutation(
        "conformance.cu",
        ["no cluster barrier after mbarrier init", "mbarrier 0x"],
        [
            "    cluster_sync();  // the other block's barriers are there\n",
            "    __syncthreads();\n",
        ],
    ),
    mutation(
        "conformance.cu",
        ["no cluster barrier before exit", "which has ended"],
        [
            "    cluster_sync();  // nobody signals into a block that has ended\n",
            "",
        ],
    ),
    mutation(
        "conformance.cu",
        ["half of the loads for one block only", "deadlock"],
        [
            "&s.full[stage], 3, {half, round}",
            "&s.full[stage], 2, {half, round}",
        ],
    ),
    mutation(
        "conformance.cu",
        ["load for a block that is not there", "of a cluster of 2"],
        [
            "&s.full[stage], 3, {half, round}",
            "&s.full[stage], 7, {half, round}",
        ],
    ),
    mutation(
        "conformance.cu",
        ["stage released to its own block only", "deadlock"],
        [
            "if (thread % 32 < 2) mbarrier_arrive_cluster(&s.empty[stage], thread % 32);",
            "if (thread % 32 == 0) mbarrier_arrive(&s.empty[stage]);",
        ],
    ),
    mutation(
        "conformance.cu",
        ["stage released before all lanes have read it", ""],
        [
            "        __syncwarp();\n        if (thread % 32 < 2)",
            "        if (thread % 32 < 2)",
        ],
    ),
];

/// Warps that wait for each other.
const CHAIN: &[Mutation] = &[
    mutation(
        "conformance.cu",
        [
            "barrier whose threads expect different counts",
            "others expect",
        ],
        [
            "named_barrier_arrive(warp + 1, 64)",
            "named_barrier_arrive(warp + 1, 96)",
        ],
    ),
    mutation(
        "conformance.cu",
        ["barrier that nobody arrives at", "wait for named barrier"],
        [
            "    if (warp < 3) named_barrier_arrive(warp + 1, 64);\n",
            "",
        ],
    ),
    mutation(
        "conformance.cu",
        ["warps that do not wait", ""],
        [
            "    if (warp > 0) named_barrier_sync(warp, 64);\n",
            "    if (warp > 0) named_barrier_arrive(warp, 64);\n",
        ],
    ),
    mutation(
        "conformance.cu",
        ["shared memory read uninitialised", ""],
        ["    if (threadIdx.x == 0) number = 10;\n", ""],
    ),
];

/// Two warps and a ring of two slots.
const PHASES: &[Mutation] = &[
    mutation(
        "conformance.cu",
        ["slot filled before it was read", "wrong numbers"],
        [
            "            mbarrier_wait(&s.empty[slot], parity ^ 1);\n",
            "",
        ],
    ),
    mutation(
        "conformance.cu",
        [
            "slot handed over before all lanes filled it",
            "wrong numbers",
        ],
        [
            "            __syncwarp();\n            if (lane == 0) mbarrier_arrive",
            "            if (lane == 0) mbarrier_arrive",
        ],
    ),
    mutation(
        "conformance.cu",
        ["one arrival too few", "deadlock"],
        [
            "mbarrier_init(&s.empty[i], 32);",
            "mbarrier_init(&s.empty[i], 33);",
        ],
    ),
];

/// Lanes of a warp.
const LANES: &[Mutation] = &[
    mutation(
        "conformance.cu",
        ["collective that half a warp joins", "while lanes"],
        [
            "__shfl_xor_sync(0xffff, v, 1)",
            "__shfl_xor_sync(ALL_LANES, v, 1)",
        ],
    ),
    mutation(
        "conformance.cu",
        ["shuffle from an absent lane", "which is not among"],
        [
            "__shfl_xor_sync(0xffff, v, 1)",
            "__shfl_xor_sync(0xffff, v, 16)",
        ],
    ),
    mutation(
        "conformance.cu",
        ["lanes in different collectives", "other lanes are in"],
        [
            "y[lane] = __shfl_sync(ALL_LANES, v, 31 - lane);",
            "y[lane] = lane == 3 ? __any_sync(ALL_LANES, v) : __shfl_sync(ALL_LANES, v, 31 - lane);",
        ],
    ),
];

/// One box moved by TMA.
const BOX: &[Mutation] = &[
    mutation(
        "conformance.cu",
        ["data read before it has come", "wrong bytes"],
        ["    mbarrier_wait(&bar, 0);\n    for", "    for"],
    ),
    mutation(
        "conformance.cu",
        ["wait for the phase before", "wrong bytes"],
        [
            "mbarrier_wait(&bar, 0);\n    for",
            "mbarrier_wait(&bar, 1);\n    for",
        ],
    ),
    mutation(
        "conformance.cu",
        [
            "box at an address that is not aligned",
            "not aligned to 128",
        ],
        ["tma_load(box, from", "tma_load(box + 64, from"],
    ),
    mutation(
        "conformance.cu",
        ["box beyond shared memory", "not in shared memory"],
        ["tma_load(box, from", "tma_load(box + 65408, from"],
    ),
    mutation(
        "conformance.cu",
        [
            "coordinates of another rank",
            "coordinates for a map of rank",
        ],
        [
            "tma_load(box, from, &bar, place)",
            "tma_load(box, from, &bar, {0, 0, 0, 0, 0})",
        ],
    ),
    mutation(
        "conformance.cu",
        ["mbarrier initialised twice", "initialised twice"],
        [
            "        mbarrier_init(bar, 1);\n",
            "        mbarrier_init(bar, 1);\n        mbarrier_init(bar, 1);\n",
        ],
    ),
    mutation(
        "conformance.cu",
        ["mbarrier overwritten", "was overwritten"],
        [
            "        tma_load(box, from",
            "        bar = 7;\n        tma_load(box, from",
        ],
    ),
    mutation(
        "conformance.cu",
        ["load nobody waits for", "on their way"],
        [
            "    mbarrier_wait(&bar, 0);\n    for (int i = threadIdx.x; i < bytes; i += 128) raw",
            "    return;\n    for (int i = threadIdx.x; i < bytes; i += 128) raw",
        ],
    ),
    mutation(
        "conformance.cu",
        [
            "store that is not waited for",
            "before its TMA store has read",
        ],
        [
            "        bulk_wait_read<0>();\n    }\n    __syncthreads();\n    for (int i = threadIdx.x; i < bytes; i += 128) box[i] = 0x77;\n    if (threadIdx.x == 0) bulk_wait<0>();\n",
            "    }\n",
        ],
    ),
    mutation(
        "conformance.cu",
        ["overwritten before the store has read it", ""],
        ["        bulk_wait_read<0>();\n", ""],
    ),
    mutation(
        "conformance.cu",
        [
            "written without a fence before the store",
            "without fence_proxy_async",
        ],
        ["    fence_proxy_async();\n", ""],
    ),
];

/// One product of a warpgroup.
const PRODUCT: &[Mutation] = &[
    mutation(
        "conformance_wgmma.cu",
        ["accumulators read before the wait", "wrong numbers"],
        [
            "    wgmma_wait<0>();\n    wgmma_pin(acc);\n    store_tile<N>(y, acc);\n",
            "    store_tile<N>(y, acc);\n    wgmma_wait<0>();\n",
        ],
    ),
    mutation(
        "conformance_wgmma.cu",
        ["no wgmma_fence", "without wgmma_fence"],
        ["    wgmma_fence();\n", ""],
    ),
    mutation(
        "conformance_wgmma.cu",
        ["products that are not committed", "has not waited for"],
        [
            "    wgmma_commit();\n    wgmma_wait<0>();\n    wgmma_pin",
            "    wgmma_wait<0>();\n    wgmma_pin",
        ],
    ),
    mutation(
        "conformance_wgmma.cu",
        [
            "accumulator written in flight",
            "while a product works on it",
        ],
        [
            "    wgmma_commit();\n    wgmma_wait<0>();\n    wgmma_pin",
            "    wgmma_commit();\n    acc[3] = 0.0f;\n    wgmma_wait<0>();\n    wgmma_pin",
        ],
    ),
    mutation(
        "conformance_wgmma.cu",
        ["descriptors that differ across the warpgroup", "disagree"],
        [
            "describe(boxes, l[0], i)",
            "describe(boxes + threadIdx.x / 64 * 1024, l[0], i)",
        ],
    ),
    mutation(
        "conformance_wgmma.cu",
        ["accumulation that differs across the warpgroup", "disagree"],
        [
            "multiply(acc, a_at[i], b_at[i], i);",
            "multiply(acc, a_at[i], b_at[i], i + (threadIdx.x == 7));",
        ],
    ),
    mutation(
        "conformance_wgmma.cu",
        ["operand beyond shared memory", "not in shared memory"],
        [
            "describe(boxes, l[0], i)",
            "describe(boxes + 64512, l[0], i)",
        ],
    ),
    mutation(
        "conformance_wgmma.cu",
        [
            "operand that begins within a swizzle pattern",
            "first row of a swizzle pattern",
        ],
        ["describe(boxes, l[0], i)", "describe(boxes + 128, l[0], i)"],
    ),
];

#[test]
fn every_mistake_with_single_instructions_is_found() {
    for (file, mutations, case) in [
        ("conformance.cu", MULTICAST, "clusters/"),
        ("conformance.cu", CHAIN, "barriers/named"),
        ("conformance.cu", PHASES, "barriers/mbarriers"),
        ("conformance.cu", LANES, "warps/lanes"),
        ("conformance.cu", BOX, "boxes/[64, 64] at [0, 2]"),
        (
            "conformance_wgmma.cu",
            PRODUCT,
            "wgmma/bf16_nn 64x64x64 by swizzles [128",
        ),
    ] {
        let case = &conformance::named(case)[0];
        expect_killed(file, mutations, |emulator, run| {
            conformance::check(case, emulator, run)
        });
    }
}
