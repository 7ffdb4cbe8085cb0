// attention: y[r, h, :] = softmax(scale q[r, h, :] k[keys, g, :]^T) v[keys, g, :] sigma(gate[r, h])
//
//   q       [n, heads * HEAD] bf16, box TILE_Q x BOX_COLS, 128-byte swizzle
//   k, v    [m, kv_heads * HEAD] bf16, box TILE_K x BOX_COLS, 128-byte swizzle
//   y       [n, heads * HEAD] bf16, rows y_pitch elements apart, y_pitch even, 4-byte aligned
//   gate    [n, heads] bf16, rows gate_pitch elements apart; or null: no gate
//   tiles   [num_tiles], heaviest first: query rows, head h, its key head g, ranges of keys
//   scale   the factor on the scores times log2(e), positive
//
// Pitches of q, k and v are multiples of 16 bytes, so they may be columns of one buffer. A step
// reads TILE_K rows, also past its range's end: up to TILE_K rows behind it. There k may hold
// anything, but v must be finite, because it is multiplied by zero. So the host zeroes the rows of v
// that are no tokens (padding between groups, the arena behind the last row). TMA reads rows outside
// of the tensor as zeros. Rows of q past a tile's end may hold anything.
//
//   for tile of this block's share:
//       producer warp:   load q
//                        for each step i of TILE_K keys: wait empty; load k(i + 1), v(i)
//       two warpgroups:  s(0) = q k(0)^T, s(1) = q k(1)^T, o = 0
//                        for each step i, while the products begun in the step before run:
//                            p(i) = exp2(scale s(i) - max), o *= exp2(old max - max)
//                            wait for the turn, begin o += p(i) v(i) and s(i + 2) = q k(i + 2)^T
//                        store o / sum * sigma(gate)
//
//   launch  grid (any, at most one block per SM), block THREADS, dynamic shared memory SMEM_BYTES
//   bound   tensor cores: 4 HEAD FLOP per query row and key at 4096 per SM and clock
//   math    bf16 products; f32 scores, sums and o; p to bf16; y to bf16, before the gate too
//   error   within twice the rounding of p and y to bf16

#include "common.cuh"
#include "params.h"
#include "wgmma_gen.cuh"

constexpr int HEAD = 128;
constexpr int RANGES = 3;
constexpr int TILE_Q = 128;
constexpr int TILE_K = 112;   // s of two steps, p and o take 204 registers; 128 keys would spill
constexpr int BOX_COLS = 64;  // 128 bytes, the span of the swizzle
constexpr int STAGES = 2;
constexpr int KEPT = 4;       // k is loaded at most three steps ahead of the softmax
constexpr int CONSUMERS = 2;  // warpgroups of 64 rows
constexpr int THREADS = 128 * (1 + CONSUMERS);
constexpr int PRODUCER_REGISTERS = 24;
constexpr int CONSUMER_REGISTERS = 240;
static_assert(128 * (PRODUCER_REGISTERS + CONSUMERS * CONSUMER_REGISTERS) <= block_registers(THREADS));
constexpr int SMEM_BYTES = 148480;  // of 232448

// offset   bytes   what
//      0   32768   q
//  32768   57344   k ring, 2 x 28 KB
//  90112   57344   v ring, 2 x 28 KB
// 147456      16   keys left at a step
// 147472      80   mbarriers
//
// A tile is stored as two halves of 64 columns, each row 128 bytes long.
struct alignas(1024) Shared {
    bf16 q[TILE_Q * HEAD];
    bf16 k[STAGES][TILE_K * HEAD];
    bf16 v[STAGES][TILE_K * HEAD];
    int left[KEPT];
    uint64_t q_full, q_empty;
    uint64_t k_full[STAGES], k_empty[STAGES];
    uint64_t v_full[STAGES], v_empty[STAGES];
};
constexpr int GROUP_BYTES = 8 * BOX_COLS * 2;  // eight rows of a half
static_assert(sizeof(Shared) == SMEM_BYTES);
static_assert(TILE_Q == CONSUMERS * 64 && HEAD == 2 * BOX_COLS && TILE_K % 16 == 0);

// Named barriers; 0 is __syncthreads. TURN + w: warpgroup w may issue its wgmmas.
enum Barrier { TURN = 1 };

// A place in a ring: how many stages were used before it.
struct Place {
    uint32_t count;

    DEVICE int stage() const { return count % STAGES; }
    DEVICE uint32_t parity() const { return count / STAGES % 2; }
};

// First key of a step. After the last range no keys are left.
struct Keys {
    const KeyRange* range;
    int row;

    DEVICE explicit Keys(const AttentionTile& tile) : range(tile.keys), row(range->start) {}
    DEVICE int left() const { return range->end - row; }
    DEVICE void advance(const AttentionTile& tile) {
        row += TILE_K;
        if (row < range->end) return;
        row = range->end;
        const KeyRange* const next = range + 1;
        if (next == tile.keys + RANGES || next->start == next->end) return;
        range = next;
        row = range->start;
    }
};

// Steps of a tile: always an even number, the last one perhaps without keys.
DEVICE int count_steps(const AttentionTile& tile) {
    int steps = 0;
    for (const KeyRange& keys : tile.keys) steps += (keys.end - keys.start + TILE_K - 1) / TILE_K;
    return (steps + 1) / 2 * 2;
}

DEVICE void init_barriers(Shared& s) {
    if (threadIdx.x == 0) {
        constexpr int RELEASES = 4 * CONSUMERS;  // one arrival per warp
        mbarrier_init(&s.q_full, 1);
        mbarrier_init(&s.q_empty, RELEASES);
        for (int i = 0; i < STAGES; ++i) {
            mbarrier_init(&s.k_full[i], 1);
            mbarrier_init(&s.k_empty[i], RELEASES);
            mbarrier_init(&s.v_full[i], 1);
            mbarrier_init(&s.v_empty[i], RELEASES);
        }
        fence_mbarrier_init();
    }
    __syncthreads();
}

// Loads `ROWS` rows of one head from `row` on.
template <int ROWS>
DEVICE void load(bf16* to, const CUtensorMap& from, uint64_t* full, int head, int row) {
    mbarrier_arrive_expect_tx(full, ROWS * HEAD * 2);
    UNROLL
    for (int half = 0; half < 2; ++half)
        tma_load(to + half * ROWS * BOX_COLS, from, full, {head * HEAD + half * BOX_COLS, row});
}

// One thread: loads q once per tile, and its keys step by step.
DEVICE void produce(Shared& s, const CUtensorMap& q, const CUtensorMap& k, const CUtensorMap& v,
                    const AttentionTile* tiles, int num_tiles) {
    Place k_at{0}, v_at{0};
    uint32_t parity = 1;
    for (int tile = blockIdx.x; tile < num_tiles; tile += gridDim.x, parity ^= 1) {
        const AttentionTile& t = tiles[tile];
        mbarrier_wait(&s.q_empty, parity);
        load<TILE_Q>(s.q, q, &s.q_full, t.head, t.row);
        Keys k_keys(t), v_keys(t);
        const int steps = count_steps(t);
        for (int i = 0; i <= steps; ++i) {
            if (i < steps) {
                mbarrier_wait(&s.k_empty[k_at.stage()], k_at.parity() ^ 1);
                s.left[k_at.count % KEPT] = k_keys.left();
                load<TILE_K>(s.k[k_at.stage()], k, &s.k_full[k_at.stage()], t.kv_head, k_keys.row);
                k_keys.advance(t);
                ++k_at.count;
            }
            if (i > 0) {
                mbarrier_wait(&s.v_empty[v_at.stage()], v_at.parity() ^ 1);
                load<TILE_K>(s.v[v_at.stage()], v, &s.v_full[v_at.stage()], t.kv_head, v_keys.row);
                v_keys.advance(t);
                ++v_at.count;
            }
        }
    }
}

// Tells the compiler that all lanes have the same value, so that it needs no register for it.
DEVICE int uniform(int x) {
    return __shfl_sync(ALL_LANES, x, 0);
}

DEVICE void release(uint64_t* empty) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty);
}

// The state of a warpgroup that the steps of a tile share. A thread has parts of two rows.
struct State {
    float o[HEAD / 2];
    float max[2];
    float sum[2];  // of this thread's columns
};

// Begins d = q k^T for the warpgroup's rows and the keys at `at`.
DEVICE void begin_scores(Shared& s, int warpgroup, Place at, float (&d)[TILE_K / 2]) {
    mbarrier_wait(&s.k_full[at.stage()], at.parity());
    const uint64_t q =
        wgmma_descriptor(s.q + warpgroup * 64 * BOX_COLS, 16, GROUP_BYTES, Swizzle::B128);
    const uint64_t k = wgmma_descriptor(s.k[at.stage()], 16, GROUP_BYTES, Swizzle::B128);
    wgmma_fence();
    UNROLL
    for (int i = 0; i < HEAD / 16; ++i) {
        // In units of 16 bytes: 16 columns are 2, a half is its rows times 8.
        const int half = i / 4, in_half = i % 4 * 2;
        wgmma_m64n112k16_bf16(d, q + half * TILE_Q * 8 + in_half, k + half * TILE_K * 8 + in_half,
                              i);
    }
    wgmma_commit();
}

// Begins o += p v for the keys at `at`.
DEVICE void begin_output(Shared& s, Place at, const uint32_t (&p)[TILE_K / 16][4],
                         float (&o)[HEAD / 2]) {
    mbarrier_wait(&s.v_full[at.stage()], at.parity());
    const uint64_t v =
        wgmma_descriptor(s.v[at.stage()], TILE_K * BOX_COLS * 2, GROUP_BYTES, Swizzle::B128);
    wgmma_fence();
    UNROLL
    for (int i = 0; i < TILE_K / 16; ++i) {
        constexpr int PIECE = 2 * GROUP_BYTES / 16;  // 16 keys in units of 16 bytes
        wgmma_m64n128k16_bf16<1>(o, p[i], v + i * PIECE, 1);
    }
    wgmma_commit();
}

// Scores of keys past the range's end become minus infinity.
DEVICE void mask(float (&s)[TILE_K / 2], int left) {
    left -= threadIdx.x % 4 * 2;
    UNROLL
    for (int i = 0; i < TILE_K / 2; ++i) {
        if (i / 4 * 8 + i % 2 >= left) s[i] = -INFINITY;
    }
}

// Replaces scores by exp2(scale * (score - max)). `shrink` becomes the factor on older results.
DEVICE void softmax(float (&s)[TILE_K / 2], float scale, State& state, float (&shrink)[2]) {
    UNROLL
    for (int half = 0; half < 2; ++half) {
        float max = state.max[half];
        UNROLL
        for (int i = 2 * half; i < TILE_K / 2; i += 4) max = fmaxf(max, fmaxf(s[i], s[i + 1]));
        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 1));
        max = fmaxf(max, __shfl_xor_sync(ALL_LANES, max, 2));
        shrink[half] = fast_exp2((state.max[half] - max) * scale);
        state.max[half] = max;
        float sum = state.sum[half] * shrink[half];
        UNROLL
        for (int i = 2 * half; i < TILE_K / 2; i += 4) {
            s[i] = fast_exp2(fmaf(s[i], scale, -max * scale));
            s[i + 1] = fast_exp2(fmaf(s[i + 1], scale, -max * scale));
            sum += s[i] + s[i + 1];
        }
        state.sum[half] = sum;
    }
}

// The accumulators of 16 keys are the A operand of these keys without a permutation.
DEVICE void round_p(const float (&s)[TILE_K / 2], uint32_t (&p)[TILE_K / 16][4]) {
    UNROLL
    for (int i = 0; i < TILE_K / 4; ++i) p[i / 4][i % 4] = pack_bf16(s[2 * i], s[2 * i + 1]);
}

// The warpgroups take turns at issuing wgmmas, so that one has the tensor cores while the other
// is in its softmax.
DEVICE void take_turn(int warpgroup) {
    named_barrier_sync(TURN + warpgroup, 128 * CONSUMERS);
}
DEVICE void pass_turn(int warpgroup) {
    named_barrier_arrive(TURN + (warpgroup ^ 1), 128 * CONSUMERS);
}

// The state that the steps of a tile need.
struct Steps {
    int warpgroup;
    float scale;
    uint32_t first, end;  // as places in the rings
};

// The scores of the keys at `at` are there; with the last ones the work on q is done.
DEVICE void release_scores(Shared& s, const Steps& steps, Place at) {
    release(&s.k_empty[at.stage()]);
    if (at.count + 1 == steps.end) release(&s.q_empty);
}

// One step: softmax of the scores in `now` while the wgmmas issued before it run, then o takes its
// part. Those wgmmas make o of the step before and the scores of the next one, `next`.
template <bool LAST>
DEVICE void step(Shared& s, const Steps& steps, Place at, State& state, float (&now)[TILE_K / 2],
                 float (&next)[TILE_K / 2]) {
    const int left = s.left[at.count % KEPT];
    if (left < TILE_K) mask(now, left);
    float shrink[2];
    softmax(now, steps.scale, state, shrink);
    wgmma_wait<0>();
    wgmma_pin(state.o);
    if (at.count != steps.first) release(&s.v_empty[Place{at.count - 1}.stage()]);
    if constexpr (!LAST) {
        wgmma_pin(next);
        release_scores(s, steps, Place{at.count + 1});
    }
    UNROLL
    for (int i = 0; i < HEAD / 2; ++i) state.o[i] *= shrink[i / 2 % 2];
    uint32_t p[TILE_K / 16][4];
    round_p(now, p);
    take_turn(steps.warpgroup);
    begin_output(s, at, p, state.o);
    if constexpr (LAST) {
        pass_turn(steps.warpgroup);
        wgmma_wait<0>();
        wgmma_pin(state.o);
        release(&s.v_empty[at.stage()]);
    }
}

// One warpgroup: all steps of a tile.
DEVICE void attend(Shared& s, const Steps& steps, State& state) {
    float even[TILE_K / 2], odd[TILE_K / 2];
    UNROLL
    for (float& o : state.o) o = 0.0f;
    UNROLL
    for (int half = 0; half < 2; ++half) {
        state.max[half] = -INFINITY;
        state.sum[half] = 0.0f;
    }
    const int warpgroup = steps.warpgroup;
    Place at{steps.first};
    take_turn(warpgroup);
    begin_scores(s, warpgroup, at, even);
    begin_scores(s, warpgroup, Place{at.count + 1}, odd);
    pass_turn(warpgroup);
    wgmma_wait<0>();
    wgmma_pin(even);
    wgmma_pin(odd);
    release_scores(s, steps, at);
    while (at.count + 2 != steps.end) {
        step<false>(s, steps, at, state, even, odd);
        begin_scores(s, warpgroup, Place{at.count + 2}, even);
        pass_turn(warpgroup);
        ++at.count;
        step<false>(s, steps, at, state, odd, even);
        begin_scores(s, warpgroup, Place{at.count + 2}, odd);
        pass_turn(warpgroup);
        ++at.count;
    }
    step<false>(s, steps, at, state, even, odd);
    pass_turn(warpgroup);
    ++at.count;
    step<true>(s, steps, at, state, odd, even);
}

// Stores the warpgroup's rows up to the tile's end; four lanes write 8 neighbours of a row.
DEVICE void store(bf16* y, int y_pitch, const bf16* gate, int gate_pitch, const AttentionTile& tile,
                  int warpgroup, const State& state) {
    const int thread = threadIdx.x % 128, lane = thread % 32;
    int row = tile.row + warpgroup * 64 + thread / 32 * 16 + lane / 4;
    UNROLL
    for (int half = 0; half < 2; ++half, row += 8) {
        float sum = state.sum[half];
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        if (row >= tile.end) continue;
        const float share = 1.0f / sum;
        const float open =
            gate ? sigmoid(to_float(gate[int64_t{row} * gate_pitch + tile.head])) : 1.0f;
        bf16* const line = y + int64_t{row} * y_pitch + tile.head * HEAD + lane % 4 * 2;
        UNROLL
        for (int i = 0; i < HEAD / 8; ++i) {
            const float* o = state.o + 4 * i + 2 * half;
            uint32_t pair = pack_bf16(o[0] * share, o[1] * share);
            if (gate)
                pair = pack_bf16(bits_to_float(pair << 16) * open,
                                 bits_to_float(pair & 0xffff0000) * open);
            *reinterpret_cast<uint32_t*>(line + 8 * i) = pair;
        }
    }
}

// The consumers' part.
DEVICE void consume(Shared& s, bf16* y, int y_pitch, const bf16* gate, int gate_pitch,
                    const AttentionTile* tiles, int num_tiles, float scale) {
    const int warpgroup = uniform(threadIdx.x / 128) - 1;
    Steps steps{warpgroup, scale, 0, 0};
    uint32_t parity = 0;
    if (warpgroup == 1) pass_turn(warpgroup);
    for (int tile = blockIdx.x; tile < num_tiles; tile += gridDim.x, parity ^= 1) {
        const AttentionTile& t = tiles[tile];
        steps.first = steps.end;
        steps.end += uniform(count_steps(t));
        State state;
        mbarrier_wait(&s.q_full, parity);
        attend(s, steps, state);
        store(y, y_pitch, gate, gate_pitch, t, warpgroup, state);
    }
    if (warpgroup == 0) take_turn(warpgroup);  // the last one passed to it
}

K_KERNEL(THREADS, 1)
attention_bf16(bf16* y, const __grid_constant__ CUtensorMap q_map,
               const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map,
               const bf16* gate, const AttentionTile* tiles, int num_tiles, float scale,
               int y_pitch, int gate_pitch) {
    K_DYN_SMEM(raw);
    Shared& s = *reinterpret_cast<Shared*>(raw);
    init_barriers(s);
    if (threadIdx.x < 128) {
        register_dealloc<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce(s, q_map, k_map, v_map, tiles, num_tiles);
    } else {
        register_alloc<CONSUMER_REGISTERS>();
        consume(s, y, y_pitch, gate, gate_pitch, tiles, num_tiles, scale);
    }
}
K_EXPORT(attention_bf16)
