//! The planted mistakes of the norm and the kernels of single instructions.

use crate::find::{Mistake, planted};

/// Sums over warps and blocks.
pub(crate) const NORM: &[Mistake] = &[
    planted(
        "common.cuh",
        ["no barrier in the block's sum", ""],
        ["    __syncthreads();\n", ""],
    ),
    planted(
        "common.cuh",
        ["a step short in the warp's sum", ""],
        ["lane > 0", "lane > 1"],
    ),
];

/// Two blocks that share their loads.
pub(crate) const MULTICAST: &[Mistake] = &[
    planted(
        "multicast.cu",
        ["no cluster barrier after mbarrier init", "mbarrier 0x"],
        [
            "    cluster_sync();  // the other block's barriers are there\n",
            "    __syncthreads();\n",
        ],
    ),
    planted(
        "multicast.cu",
        ["no cluster barrier before exit", "which has ended"],
        [
            "    cluster_sync();  // nobody signals into a block that has ended\n",
            "",
        ],
    ),
    planted(
        "multicast.cu",
        ["half of the loads for one block only", "deadlock"],
        [
            "&s.full[stage], 3, {half, round}",
            "&s.full[stage], 2, {half, round}",
        ],
    ),
    planted(
        "multicast.cu",
        ["load for a block that is not there", "of a cluster of 2"],
        [
            "&s.full[stage], 3, {half, round}",
            "&s.full[stage], 7, {half, round}",
        ],
    ),
    planted(
        "multicast.cu",
        ["stage released to its own block only", "deadlock"],
        [
            "if (thread % 32 < 2) mbarrier_arrive_cluster(&s.empty[stage], thread % 32);",
            "if (thread % 32 == 0) mbarrier_arrive(&s.empty[stage]);",
        ],
    ),
    planted(
        "multicast.cu",
        ["stage released before all lanes have read it", ""],
        ["        __syncwarp();\n", ""],
    ),
];

/// Warps that wait for each other.
pub(crate) const CHAIN: &[Mistake] = &[
    planted(
        "instructions.cu",
        [
            "barrier whose threads expect different counts",
            "others expect",
        ],
        [
            "named_barrier_arrive(warp + 1, 64)",
            "named_barrier_arrive(warp + 1, 96)",
        ],
    ),
    planted(
        "instructions.cu",
        ["barrier that nobody arrives at", "wait for named barrier"],
        [
            "    if (warp < 3) named_barrier_arrive(warp + 1, 64);\n",
            "",
        ],
    ),
    planted(
        "instructions.cu",
        ["warps that do not wait", ""],
        [
            "    if (warp > 0) named_barrier_sync(warp, 64);\n",
            "    if (warp > 0) named_barrier_arrive(warp, 64);\n",
        ],
    ),
    planted(
        "instructions.cu",
        ["shared memory read uninitialised", ""],
        ["    if (threadIdx.x == 0) number = 10;\n", ""],
    ),
];

/// Lanes of a warp.
pub(crate) const LANES: &[Mistake] = &[
    planted(
        "instructions.cu",
        ["collective that half a warp joins", "while lanes"],
        [
            "__shfl_xor_sync(0xffff, v, 1)",
            "__shfl_xor_sync(ALL_LANES, v, 1)",
        ],
    ),
    planted(
        "instructions.cu",
        ["shuffle from an absent lane", "which is not among"],
        [
            "__shfl_xor_sync(0xffff, v, 1)",
            "__shfl_xor_sync(0xffff, v, 16)",
        ],
    ),
    planted(
        "instructions.cu",
        ["lanes in different collectives", "other lanes are in"],
        [
            "y[lane] = __shfl_sync(ALL_LANES, v, 31 - lane);",
            "y[lane] = lane == 3 ? __any_sync(ALL_LANES, v) : __shfl_sync(ALL_LANES, v, 31 - lane);",
        ],
    ),
];

/// One box moved by TMA.
pub(crate) const BOX: &[Mistake] = &[
    planted(
        "instructions.cu",
        ["data read before it has come", "wrong bytes"],
        ["    mbarrier_wait(&bar, 0);\n    for", "    for"],
    ),
    planted(
        "instructions.cu",
        ["wait for the phase before", "wrong bytes"],
        [
            "mbarrier_wait(&bar, 0);\n    for",
            "mbarrier_wait(&bar, 1);\n    for",
        ],
    ),
    planted(
        "instructions.cu",
        [
            "box at an address that is not aligned",
            "not aligned to 128",
        ],
        ["tma_load(box, from", "tma_load(box + 64, from"],
    ),
    planted(
        "instructions.cu",
        ["box beyond shared memory", "not in shared memory"],
        ["tma_load(box, from", "tma_load(box + 65408, from"],
    ),
    planted(
        "instructions.cu",
        [
            "coordinates of another rank",
            "coordinates for a map of rank",
        ],
        [
            "tma_load(box, from, &bar, place)",
            "tma_load(box, from, &bar, {0, 0, 0, 0, 0})",
        ],
    ),
    planted(
        "instructions.cu",
        ["mbarrier initialised twice", "initialised twice"],
        [
            "        mbarrier_init(bar, 1);\n",
            "        mbarrier_init(bar, 1);\n        mbarrier_init(bar, 1);\n",
        ],
    ),
    planted(
        "instructions.cu",
        ["mbarrier overwritten", "was overwritten"],
        [
            "        tma_load(box, from",
            "        bar = 7;\n        tma_load(box, from",
        ],
    ),
    planted(
        "instructions.cu",
        ["load nobody waits for", "on their way"],
        [
            "    mbarrier_wait(&bar, 0);\n    for (int i = threadIdx.x; i < bytes; i += 128) raw[i] = box[i];\n    if (threadIdx.x == 0) {",
            "    if (threadIdx.x == 128) {",
        ],
    ),
    planted(
        "instructions.cu",
        [
            "store that is not waited for",
            "before its TMA store has read",
        ],
        ["        bulk_wait<0>();\n", ""],
    ),
    planted(
        "instructions.cu",
        [
            "written without a fence before the store",
            "without fence_proxy_async",
        ],
        [
            "    if (threadIdx.x == 0) {\n        tma_store",
            "    box[0] += 1;\n    if (threadIdx.x == 0) {\n        tma_store",
        ],
    ),
];

/// One product of a warpgroup.
pub(crate) const PRODUCT: &[Mistake] = &[
    planted(
        "instructions.cu",
        ["accumulators read before the wait", "wrong numbers"],
        [
            "    wgmma_wait<0>();\n    wgmma_pin(acc);\n    store_tile(y, acc);\n",
            "    store_tile(y, acc);\n    wgmma_wait<0>();\n",
        ],
    ),
    planted(
        "instructions.cu",
        ["products that are not committed", "has not waited for"],
        [
            "    wgmma_commit();\n    wgmma_wait<0>();\n    wgmma_pin",
            "    wgmma_wait<0>();\n    wgmma_pin",
        ],
    ),
    planted(
        "instructions.cu",
        [
            "accumulator written in flight",
            "while a product works on it",
        ],
        [
            "    wgmma_commit();\n    wgmma_wait<0>();\n    wgmma_pin",
            "    wgmma_commit();\n    acc[3] = 0.0f;\n    wgmma_wait<0>();\n    wgmma_pin",
        ],
    ),
    planted(
        "instructions.cu",
        ["descriptors that differ across the warpgroup", "disagree"],
        [
            "describe(boxes, l[0], i)",
            "describe(boxes + threadIdx.x / 64 * 1024, l[0], i)",
        ],
    ),
    planted(
        "instructions.cu",
        ["accumulation that differs across the warpgroup", "disagree"],
        [
            "describe(boxes + HALF, l[1], i), i);",
            "describe(boxes + HALF, l[1], i), i + (threadIdx.x == 7));",
        ],
    ),
    planted(
        "instructions.cu",
        ["operand beyond shared memory", "not in shared memory"],
        [
            "describe(boxes, l[0], i)",
            "describe(boxes + 64512, l[0], i)",
        ],
    ),
    planted(
        "instructions.cu",
        [
            "operand that begins within a swizzle pattern",
            "first row of a swizzle pattern",
        ],
        ["describe(boxes, l[0], i)", "describe(boxes + 128, l[0], i)"],
    ),
];
