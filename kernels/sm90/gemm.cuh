// What gemm_bf16.cu and gemm_fp8.cu share: the ring, the producer, the walk over the tiles and the
// stores of a persistent grouped GEMM of x [m, k] and w [groups * n, k].
//
// The two blocks of a cluster make neighbouring rows of the same columns. Each loads its own rows of x,
// and half of the rows of w into both blocks: 32 KB from L2 per stage and block. Alone it would be
// 48 KB; sharing x, the smaller operand, by two blocks side by side 40 KB. Where a group ends, the
// second block may have no rows: it loads and multiplies like any other and stores nothing. There
// is no kernel of single blocks: only a GEMM of at most TILE_M rows would gain.
//
//   for tile of this cluster's share:
//       producer warp:   for each stage of k: wait until both blocks have released it;
//                        load x; load half of w into both
//       two warpgroups:  for each stage of k: wait full; multiply; release it to both blocks
//                        scale, activate or add, store
//
// Any m, n, k: what a box reads outside of its tensor is zero. Rows of a tile behind its group's
// end are computed with the wrong weights and not stored.
#pragma once

#include "activation.cuh"
#include "common.cuh"
#include "params.h"
#include "wgmma_gen.cuh"

constexpr int TILE_M = 128;  // rows of a block's tile
constexpr int TILE_N = 256;
constexpr int SPAN = 128;  // bytes of a row in a stage and in a stored box, the span of the swizzle
constexpr int STAGES = 4;
constexpr int CLUSTER = 2;    // blocks, one below the other
constexpr int CONSUMERS = 2;  // warpgroups of 64 rows
constexpr int THREADS = 128 * (1 + CONSUMERS);
constexpr int PRODUCER_REGISTERS = 24;
constexpr int CONSUMER_REGISTERS = 240;
static_assert(128 * (PRODUCER_REGISTERS + CONSUMERS * CONSUMER_REGISTERS) <= block_registers(THREADS));
constexpr int SMEM_BYTES = 229440;  // of 232448
constexpr int SHARE_N = TILE_N / CLUSTER;  // rows of w that a block loads
constexpr int ACC = TILE_N / 2;            // accumulators of a thread

// offset   bytes   what
//      0   65536   x ring, 4 x 16 KB
//  65536  131072   w ring, 4 x 32 KB, each half loaded by another block
// 196608   32768   y, two buffers for each warpgroup
// 229376      64   mbarriers
struct alignas(1024) Shared {
    unsigned char x[STAGES][TILE_M * SPAN];
    unsigned char w[STAGES][TILE_N * SPAN];
    unsigned char y[CONSUMERS][2][64 * SPAN];
    uint64_t full[STAGES];
    uint64_t empty[STAGES];
};
constexpr int STAGE_BYTES = (TILE_M + TILE_N) * SPAN;
constexpr int GROUP_BYTES = 8 * SPAN;  // eight rows of an operand
static_assert(offsetof(Shared, empty) + sizeof(uint64_t) * STAGES == SMEM_BYTES);
static_assert(TILE_M == CONSUMERS * 64 && TILE_M == SHARE_N);

// Named barriers, one per consumer warpgroup; 0 is __syncthreads.
enum Barrier { STORE = 1 };

// The tiles of a GEMM: each a cluster's, of CLUSTER * TILE_M rows.
struct Walk {
    const GemmTile* tiles;
    int num_tiles, n, k;

    DEVICE static Walk of(const GemmTile* tiles, const GemmShape& shape) {
        return Walk{tiles, shape.num_tiles, shape.n, shape.k};
    }

    DEVICE static int first() { return blockIdx.x / CLUSTER; }
    DEVICE static int stride() { return gridDim.x / CLUSTER; }
};

// Some columns of a warpgroup's share of a tile: 64 rows, of which those before `end` count.
struct Part {
    int warpgroup, row, end, col, weight_row;

    // Row and column in the part of the first accumulator of this thread: number 4 j + 2 h + i is
    // of the row 8 h and the column 8 j + i further on.
    DEVICE static int thread_row() { return threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4; }
    DEVICE static int thread_col() { return threadIdx.x % 4 * 2; }
};

// A place in the ring: the stage, and the parity of its present phase.
struct Place {
    int stage = 0;
    uint32_t parity = 0;

    DEVICE void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

DEVICE void init_barriers(Shared& s) {
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; ++i) {
            mbarrier_init(&s.full[i], 1);
            mbarrier_init(&s.empty[i], 4 * CONSUMERS * CLUSTER);  // one arrival per warp
        }
        fence_mbarrier_init();
    }
    cluster_sync();  // the other block's barriers are there
}

// One thread: fills the ring, tile after tile.
template <int TILE_K>
DEVICE void produce(Shared& s, const CUtensorMap& x, const CUtensorMap& w, const Walk& walk) {
    constexpr uint16_t BOTH = (1 << CLUSTER) - 1;
    const int rank = static_cast<int>(cluster_rank());
    Place at;
    for (int tile = Walk::first(); tile < walk.num_tiles; tile += Walk::stride()) {
        const GemmTile t = walk.tiles[tile];
        const int row = t.row + rank * TILE_M, weight_row = t.weight_row + rank * SHARE_N;
        for (int col = 0; col < walk.k; col += TILE_K) {
            mbarrier_wait(&s.empty[at.stage], at.parity ^ 1);
            mbarrier_arrive_expect_tx(&s.full[at.stage], STAGE_BYTES);
            tma_load(s.x[at.stage], x, &s.full[at.stage], {col, row});
            tma_load_multicast(s.w[at.stage] + rank * SHARE_N * SPAN, w, &s.full[at.stage], BOTH,
                               {col, weight_row});
            at.advance();
        }
    }
}

// This warp no longer reads the stage: both producers write to it.
DEVICE void release(Shared& s, int stage) {
    const uint32_t lane = threadIdx.x % 32;
    if (lane < CLUSTER) mbarrier_arrive_cluster(&s.empty[stage], lane);
}

// wgmma's operands in a stage: the warpgroup's 64 rows of x, and those of w from `row` on.
DEVICE uint64_t x_of(const Shared& s, int stage, int warpgroup) {
    return wgmma_descriptor(s.x[stage] + warpgroup * 64 * SPAN, 16, GROUP_BYTES, Swizzle::B128);
}
DEVICE uint64_t w_of(const Shared& s, int stage, int row) {
    return wgmma_descriptor(s.w[stage] + row * SPAN, 16, GROUP_BYTES, Swizzle::B128);
}

// ---- epilogues ----------------------------------------------------------------------------------

enum class Act { NONE, SWIGLU7, GELU7 };

// Rounded as if they had been stored in bf16.
DEVICE void round_pair(float& a, float& b) {
    const uint32_t pair = pack_bf16(a, b);
    a = bits_to_float(pair << 16);
    b = bits_to_float(pair & 0xffff0000);
}

// The activation of the sum in bf16; for e4m3 that in bf16 times `factor`. swiglu7 leaves its
// results in the even ones.
template <Act ACT, class Out, int COUNT>
DEVICE void activate(float* acc, float factor) {
    UNROLL
    for (int i = 0; i < COUNT; i += 2) {
        float &a = acc[i], &b = acc[i + 1];
        round_pair(a, b);
        if constexpr (ACT == Act::SWIGLU7) {
            a = swiglu7(a, b);
        } else {
            a = gelu7(a);
            b = gelu7(b);
        }
        if constexpr (sizeof(Out) == 1) {
            round_pair(a, b);
            a *= factor;
            b *= factor;
        }
    }
}

DEVICE void store_pair(bf16* p, float a, float b) {
    *reinterpret_cast<uint32_t*>(p) = pack_bf16(a, b);
}
DEVICE void store_pair(e4m3* p, float a, float b) {
    *reinterpret_cast<uint16_t*>(p) = pack_e4m3(a, b);
}
DEVICE void store_pair(float* p, float a, float b) {
    *reinterpret_cast<float2*>(p) = float2{a, b};
}
DEVICE void store_one(bf16* p, float a) {
    *p = to_bf16(a);
}
DEVICE void store_one(e4m3* p, float a) {
    p->bits = static_cast<uint8_t>(pack_e4m3(a, 0.0f));
}
DEVICE void store_one(float* p, float a) {
    *p = a;
}

// Stores the activation y [m, n / STEP], SPAN bytes of columns at a time.
template <class Out, Act ACT>
struct Stored {
    static constexpr int STEP = ACT == Act::SWIGLU7 ? 2 : 1;  // columns of acc for one of y
    static constexpr int COLS = SPAN / sizeof(Out);
    static constexpr int COUNT = COLS * STEP / 2;  // accumulators of a thread for them

    Out* y;
    const CUtensorMap* map;  // null: there is none
    int m, n, pitch;
    float factor;

    DEVICE void store(Shared& s, const Part& part, int& boxes, float* values) const {
        if constexpr (ACT != Act::NONE) activate<ACT, Out, COUNT>(values, factor);
        const int col = part.col / STEP;
        if (map && (part.row + 64 <= part.end || part.end == m)) {
            store_box(s.y[part.warpgroup][boxes++ % 2], part, col, values);
        } else {
            store_registers(part, col, values);
        }
    }

    // All 64 rows through shared memory; what lies beyond the tensor is cut off.
    DEVICE void store_box(unsigned char* buffer, const Part& part, int col,
                          const float* values) const {
        const int thread = threadIdx.x % 128;
        if (thread == 0) bulk_wait_read<1>();
        named_barrier_sync(STORE + part.warpgroup, 128);
        UNROLL
        for (int i = 0; i < COUNT; i += 2) {
            const int line = Part::thread_row() + 8 * (i / 2 % 2);
            const int byte = (8 * (i / 4) + Part::thread_col()) / STEP * sizeof(Out);
            // The 128-byte swizzle: 16-byte piece p of line l lies at p ^ (l % 8).
            const int swizzled = (byte / 16 ^ line % 8) * 16 + byte % 16;
            Out* const p = reinterpret_cast<Out*>(buffer + line * SPAN + swizzled);
            if constexpr (STEP == 1) {
                store_pair(p, values[i], values[i + 1]);
            } else {
                store_one(p, values[i]);
            }
        }
        fence_proxy_async();
        named_barrier_sync(STORE + part.warpgroup, 128);
        if (thread == 0) {
            tma_store(*map, buffer, {col, part.row});
            bulk_commit();
        }
    }

    // Rows up to the part's end and columns up to n / STEP; four lanes write neighbours of a row.
    DEVICE void store_registers(const Part& part, int col, const float* values) const {
        const int row = part.row + Part::thread_row();
        col += Part::thread_col() / STEP;
        UNROLL
        for (int i = 0; i < COUNT; i += 2) {
            const int r = row + 8 * (i / 2 % 2), c = col + 8 * (i / 4) / STEP;
            if (r >= part.end) continue;
            Out* const p = y + int64_t{r} * pitch + c;
            if (STEP == 1 && c + 1 < n) {
                store_pair(p, values[i], values[i + 1]);
            } else if (c < n / STEP) {
                store_one(p, values[i]);
            }
        }
    }
};

// y = z + the sum in bf16, 64 columns at a time; y may be z.
struct Added {
    static constexpr int COUNT = 32;

    float* y;
    const float* z;
    int n, pitch, z_pitch;

    DEVICE void store(Shared&, const Part& part, int&, float* values) const {
        const int row = part.row + Part::thread_row(), col = part.col + Part::thread_col();
        const int left = n - col;
        float2 old[COUNT / 2];
        UNROLL
        for (int i = 0; i < COUNT; i += 2) {
            const int r = row + 8 * (i / 2 % 2), c = 8 * (i / 4);
            const float* const p = z + int64_t{r} * z_pitch + col + c;
            if (r < part.end && c < left) old[i / 2] = *reinterpret_cast<const float2*>(p);
        }
        UNROLL
        for (int i = 0; i < COUNT; i += 2) {
            const int r = row + 8 * (i / 2 % 2), c = 8 * (i / 4);
            if (r >= part.end || c >= left) continue;
            float* const p = y + int64_t{r} * pitch + col + c;
            round_pair(values[i], values[i + 1]);
            const float2 sum{old[i / 2].x + values[i], old[i / 2].y + values[i + 1]};
            if (c + 1 < left) {
                store_pair(p, sum.x, sum.y);
            } else {
                store_one(p, sum.x);
            }
        }
    }
};

// ---- the kernel ---------------------------------------------------------------------------------

template <class Product, class Then>
DEVICE void consume(Shared& s, const Product& product, const Then& then, const Walk& walk) {
    const int warpgroup = threadIdx.x / 128 - 1;
    const int above = static_cast<int>(cluster_rank()) * TILE_M + warpgroup * 64;
    Place at;
    int boxes = 0;
    for (int tile = Walk::first(); tile < walk.num_tiles; tile += Walk::stride()) {
        const GemmTile t = walk.tiles[tile];
        float acc[ACC];
        Product::multiply(s, at, warpgroup, walk.k, acc);
        if (t.row + above >= t.end) continue;
        UNROLL
        for (int i = 0; i < ACC; i += Then::COUNT) {
            const Part part{warpgroup, t.row + above, t.end, t.col + 2 * i, t.weight_row + 2 * i};
            if (part.col >= walk.n) break;
            product.template scale<Then::COUNT>(part, walk.n, acc + i);
            then.store(s, part, boxes, acc + i);
        }
    }
    if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
}

template <class Product, class Then>
DEVICE void gemm(const CUtensorMap& x, const CUtensorMap& w, const Walk& walk,
                 const Product& product, const Then& then) {
    K_DYN_SMEM(raw);
    Shared& s = *reinterpret_cast<Shared*>(raw);
    init_barriers(s);
    if (threadIdx.x < 128) {
        register_dealloc<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce<Product::TILE_K>(s, x, w, walk);
        __syncwarp();
    } else {
        register_alloc<CONSUMER_REGISTERS>();
        consume(s, product, then, walk);
    }
    cluster_sync();  // nobody loads or signals into a block that has ended
}
