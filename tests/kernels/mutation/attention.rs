//! Mutation tests of `kernels/sm90/attention.cu`: the emulator, or the comparison with the CPU executor, must find each.

use gallop::plan::MaskBlock;

use super::{Mutation, expect_killed, mutation};
use crate::attention::Case;

const FILE: &str = "attention.cu";

const MUTATIONS: &[Mutation] = &[
    mutation(
        FILE,
        ["more registers than a block has", "wait for registers"],
        [
            "REGISTERS = 24;\nconstexpr int CONSUMER_REGISTERS = 240;\nstatic_assert(",
            "REGISTERS = 32;\nconstexpr int CONSUMER_REGISTERS = 240;\nstatic_assert(true || ",
        ],
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
        ["q loaded while it is in use", "NaN"],
        ["        mbarrier_wait(&s.q_empty, parity);\n", ""],
    ),
    mutation(
        FILE,
        ["k loaded to a stage in use", ""],
        [
            "                mbarrier_wait(&s.k_empty[k_at.stage()], k_at.parity() ^ 1);\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["v loaded to a stage in use", ""],
        [
            "                mbarrier_wait(&s.v_empty[v_at.stage()], v_at.parity() ^ 1);\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["q not waited for", "NaN"],
        ["        mbarrier_wait(&s.q_full, parity);\n", ""],
    ),
    mutation(
        FILE,
        ["k not waited for", "NaN"],
        [
            "    mbarrier_wait(&s.k_full[at.stage()], at.parity());\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["v not waited for", "NaN"],
        [
            "    mbarrier_wait(&s.v_full[at.stage()], at.parity());\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["wrong parity of the producer", "deadlock"],
        ["k_at.parity() ^ 1", "k_at.parity()"],
    ),
    mutation(
        FILE,
        ["wrong parity of the consumers", "deadlock"],
        [
            "mbarrier_wait(&s.v_full[at.stage()], at.parity())",
            "mbarrier_wait(&s.v_full[at.stage()], at.parity() ^ 1)",
        ],
    ),
    mutation(
        FILE,
        ["parity of q not flipped", "deadlock"],
        [
            "uint32_t parity = 0;\n",
            "uint32_t parity = 0;\n    parity = 1;\n",
        ],
    ),
    mutation(
        FILE,
        ["wrong number of bytes announced", "bytes missing"],
        [
            "mbarrier_arrive_expect_tx(full, ROWS * HEAD * 2)",
            "mbarrier_arrive_expect_tx(full, ROWS * HEAD)",
        ],
    ),
    mutation(
        FILE,
        ["products not waited for", "while a product works on it"],
        [
            "    softmax(now, steps.scale, state, shrink);\n    wgmma_wait<0>();\n",
            "    softmax(now, steps.scale, state, shrink);\n",
        ],
    ),
    mutation(
        FILE,
        ["last product not waited for", "while a product works on it"],
        [
            "        wgmma_wait<0>();\n        wgmma_pin(state.o);\n        release",
            "        release",
        ],
    ),
    mutation(
        FILE,
        ["k released before its scores are done", "NaN"],
        [
            "    wgmma_wait<0>();\n    wgmma_pin(even);\n    wgmma_pin(odd);\n    release_scores(s, steps, at);\n",
            "    release_scores(s, steps, at);\n    wgmma_wait<0>();\n    wgmma_pin(even);\n    wgmma_pin(odd);\n",
        ],
    ),
    mutation(
        FILE,
        ["v released before its product is done", "NaN"],
        [
            "    wgmma_wait<0>();\n    wgmma_pin(state.o);\n    if (at.count != steps.first) \
         release(&s.v_empty[Place{at.count - 1}.stage()]);\n",
            "    if (at.count != steps.first) release(&s.v_empty[Place{at.count - 1}.stage()]);\n    \
         wgmma_wait<0>();\n    wgmma_pin(state.o);\n",
        ],
    ),
    mutation(
        FILE,
        ["keys behind a range counted", "NaN"],
        ["    if (left < TILE_K) mask(now, left);\n", ""],
    ),
    mutation(
        FILE,
        ["one key too many", "NaN"],
        ["i / 4 * 8 + i % 2 >= left", "i / 4 * 8 + i % 2 > left"],
    ),
    mutation(
        FILE,
        ["keys left at another step", "NaN"],
        ["constexpr int KEPT = 4;", "constexpr int KEPT = 1;"],
    ),
    mutation(
        FILE,
        ["o not scaled to a new maximum", ""],
        [
            "    for (int i = 0; i < HEAD / 2; ++i) state.o[i] *= shrink[i / 2 % 2];\n",
            "    {}\n",
        ],
    ),
    mutation(
        FILE,
        ["sums not scaled to a new maximum", ""],
        ["state.sum[half] * shrink[half]", "state.sum[half]"],
    ),
    mutation(
        FILE,
        ["maximum of one lane only", ""],
        [
            "        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 2));\n",
            "",
        ],
    ),
    mutation(
        FILE,
        ["rows behind the tile stored", "written outside of y"],
        ["        if (row >= tile.end) continue;\n", ""],
    ),
    mutation(
        FILE,
        ["turn not passed on", "deadlock"],
        ["    if (warpgroup == 1) pass_turn(warpgroup);\n", ""],
    ),
    mutation(
        FILE,
        ["halves of v at the wrong distance", ""],
        [
            "TILE_K * BOX_COLS * 2, GROUP_BYTES",
            "TILE_Q * BOX_COLS * 2, GROUP_BYTES",
        ],
    ),
    mutation(
        FILE,
        ["v as if its rows were columns", ""],
        ["wgmma_m64n128k16_bf16<1>", "wgmma_m64n128k16_bf16<0>"],
    ),
    mutation(
        FILE,
        ["no fence before the scores", "without wgmma_fence"],
        [
            "Swizzle::B128);\n    wgmma_fence();\n    UNROLL\n    for (int i = 0; i < HEAD / 16; ++i) {",
            "Swizzle::B128);\n    UNROLL\n    for (int i = 0; i < HEAD / 16; ++i) {",
        ],
    ),
    mutation(
        FILE,
        ["no fence before the output", "without wgmma_fence"],
        [
            "Swizzle::B128);\n    wgmma_fence();\n    UNROLL\n    for (int i = 0; i < TILE_K / 16; ++i) {",
            "Swizzle::B128);\n    UNROLL\n    for (int i = 0; i < TILE_K / 16; ++i) {",
        ],
    ),
    mutation(
        FILE,
        ["the key head of another head", ""],
        [
            "&s.v_full[v_at.stage()], t.kv_head",
            "&s.v_full[v_at.stage()], t.head",
        ],
    ),
];

#[test]
fn every_mistake_is_found() {
    // One block for two tiles of five steps and one without keys, and two tiles of two steps. No range is whole steps.
    let case = Case {
        heads: 2,
        kv_heads: 1,
        gate: false,
        windows: vec![
            MaskBlock::new(0..100, [0..300, 350..480]),
            MaskBlock::new(100..150, [0..150]),
        ],
        grid: 1,
    };
    let attention = case.attention();
    expect_killed(FILE, MUTATIONS, |emulator, run| {
        attention.check(emulator, run)
    });
}
