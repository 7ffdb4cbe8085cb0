// gemm: y[r, :] = x[r, :] w[g n : (g + 1) n, :]^T,  one block of n weight rows per group g of rows
//
//   x       [m, k] bf16, box TILE_K x TILE_M, 128-byte swizzle
//   w       [groups * n, k] bf16, box TILE_K x TILE_N, 128-byte swizzle
//   y       [m, n] bf16 or f32, rows y_pitch elements apart, y_pitch even
//   y_map   the same where y is bf16, box 64 x 64, 128-byte swizzle
//   tiles   [num_tiles, 4] i32: first row, end of the group's rows, first column, its weight row
//
// Any m, n, k: what a box reads outside of its tensor is zero. Row pitches of x, w and y_map are
// multiples of 16 bytes. Rows of a tile behind its group's end are computed with the wrong weights
// and not stored.
//
//   for tile of this block's share:
//       producer warp:   for each TILE_K of k: wait empty; load x and w tile to a stage of the ring
//       two warpgroups:  for each TILE_K of k: wait full; acc += x w^T; release the stage before
//                        store acc
//
//   launch  grid (any, at most one block per SM), block THREADS, dynamic shared memory SMEM_BYTES
//   bound   tensor cores: 2 m n k FLOP at 4096 per SM and clock
//   math    bf16 products, f32 sums, one rounding at the store
//   error   within twice the rounding of y to bf16; f32: that of k additions in f32

#include "common.cuh"
#include "wgmma_gen.cuh"

constexpr int TILE_M = 128;
constexpr int TILE_N = 256;
constexpr int TILE_K = 64;  // 128 bytes, the span of the swizzle
constexpr int STAGES = 4;
constexpr int CONSUMERS = 2;  // warpgroups of 64 rows
constexpr int THREADS = 128 * (1 + CONSUMERS);
constexpr int STORE_COLS = 64;  // 128 bytes
// 40 * 128 + 232 * 256 of 65536 registers.
constexpr int PRODUCER_REGISTERS = 40;
constexpr int CONSUMER_REGISTERS = 232;
constexpr int SMEM_BYTES = 229440;  // of 232448

// offset   bytes   what
//      0   65536   x ring, 4 x 16 KB
//  65536  131072   w ring, 4 x 32 KB
// 196608   32768   y, two buffers for each warpgroup
// 229376      64   mbarriers
struct alignas(1024) Shared {
    bf16 x[STAGES][TILE_M * TILE_K];
    bf16 w[STAGES][TILE_N * TILE_K];
    bf16 y[CONSUMERS][2][64 * STORE_COLS];
    uint64_t full[STAGES];
    uint64_t empty[STAGES];
};
constexpr int STAGE_BYTES = (TILE_M + TILE_N) * TILE_K * 2;
static_assert(offsetof(Shared, empty) + sizeof(uint64_t) * STAGES == SMEM_BYTES);
static_assert(TILE_M == CONSUMERS * 64 && TILE_K * 2 == 128 && TILE_N % (2 * STORE_COLS) == 0);

// Named barriers, one per consumer warpgroup; 0 is __syncthreads.
enum Barrier { STORE = 1 };

struct Tile {
    int row, end, col, weight_row;
};

DEVICE Tile tile_at(const int* tiles, int tile) {
    const int4 t = reinterpret_cast<const int4*>(tiles)[tile];
    return Tile{t.x, t.y, t.z, t.w};
}

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
            mbarrier_init(&s.empty[i], 4 * CONSUMERS);  // one arrival per warp
        }
        fence_mbarrier_init();
    }
    __syncthreads();
}

// One thread: fills the ring, tile after tile.
DEVICE void produce(Shared& s, const CUtensorMap& x, const CUtensorMap& w, const int* tiles,
                    int num_tiles, int k) {
    Place at;
    for (int tile = blockIdx.x; tile < num_tiles; tile += gridDim.x) {
        const Tile t = tile_at(tiles, tile);
        for (int col = 0; col < k; col += TILE_K) {
            mbarrier_wait(&s.empty[at.stage], at.parity ^ 1);
            mbarrier_arrive_expect_tx(&s.full[at.stage], STAGE_BYTES);
            tma_load(s.x[at.stage], x, &s.full[at.stage], {col, t.row});
            tma_load(s.w[at.stage], w, &s.full[at.stage], {col, t.weight_row});
            at.advance();
        }
    }
}

DEVICE void release(Shared& s, int stage) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&s.empty[stage]);
}

// One warpgroup: acc = its 64 rows of x times w^T, from the stages that the producer fills.
DEVICE void multiply(Shared& s, Place& at, int warpgroup, int k, float (&acc)[TILE_N / 2]) {
    constexpr uint32_t GROUP_BYTES = 8 * TILE_K * 2;  // eight rows of a tile
    int before = -1;
    wgmma_pin(acc);
    for (int col = 0; col < k; col += TILE_K) {
        mbarrier_wait(&s.full[at.stage], at.parity);
        const uint64_t x = wgmma_descriptor(s.x[at.stage] + warpgroup * 64 * TILE_K, 16,
                                            GROUP_BYTES, Swizzle::B128);
        const uint64_t w = wgmma_descriptor(s.w[at.stage], 16, GROUP_BYTES, Swizzle::B128);
        wgmma_fence();
        UNROLL
        for (int i = 0; i < TILE_K / 16; ++i) {
            // 16 columns are 32 bytes, two units of a descriptor's address.
            wgmma_m64n256k16_bf16(acc, x + 2 * i, w + 2 * i, col + i);
        }
        wgmma_commit();
        wgmma_wait<1>();
        if (before >= 0) release(s, before);
        before = at.stage;
        at.advance();
    }
    wgmma_wait<0>();
    wgmma_pin(acc);
    release(s, before);
}

// Stores a whole 64 x TILE_N part through shared memory; what lies beyond the tensor is cut off.
DEVICE void store_boxes(Shared& s, int warpgroup, const CUtensorMap& y, int row, int col, int n,
                        const float (&acc)[TILE_N / 2]) {
    const int thread = threadIdx.x % 128, lane = thread % 32;
    const int line = thread / 32 * 16 + lane % 16;  // whose address this lane gives to stmatrix
    UNROLL
    for (int c = 0; c < TILE_N / STORE_COLS; ++c) {
        if (col + c * STORE_COLS >= n) break;
        bf16* const buffer = s.y[warpgroup][c % 2];
        if (thread == 0) bulk_wait_read<1>();
        named_barrier_sync(STORE + warpgroup, 128);
        UNROLL
        for (int i = 0; i < STORE_COLS / 16; ++i) {
            const float* d = acc + c * STORE_COLS / 2 + i * 8;
            const uint32_t pairs[4] = {pack_bf16(d[0], d[1]), pack_bf16(d[2], d[3]),
                                       pack_bf16(d[4], d[5]), pack_bf16(d[6], d[7])};
            // The 128-byte swizzle: 16-byte piece p of line l lies at p ^ (l % 8).
            const int piece = (2 * i + lane / 16) ^ (line % 8);
            stmatrix_x4(buffer + line * STORE_COLS + piece * 8, pairs);
        }
        fence_proxy_async();
        named_barrier_sync(STORE + warpgroup, 128);
        if (thread == 0) {
            tma_store(y, buffer, {col + c * STORE_COLS, row});
            bulk_commit();
        }
    }
}

DEVICE void store_pair(bf16* p, float a, float b) {
    *reinterpret_cast<uint32_t*>(p) = pack_bf16(a, b);
}
DEVICE void store_pair(float* p, float a, float b) {
    *reinterpret_cast<float2*>(p) = float2{a, b};
}
DEVICE void store_one(bf16* p, float a) {
    *p = to_bf16(a);
}
DEVICE void store_one(float* p, float a) {
    *p = a;
}

// Stores rows up to `end` and columns up to n from registers; four lanes write 8 neighbours of a
// row.
template <class Out>
DEVICE void store_registers(Out* y, int row, int end, int col, int n, int y_pitch,
                            const float (&acc)[TILE_N / 2]) {
    const int thread = threadIdx.x % 128, lane = thread % 32;
    row += thread / 32 * 16 + lane / 4;
    col += lane % 4 * 2;
    UNROLL
    for (int half = 0; half < 2; ++half, row += 8) {
        if (row >= end) break;
        Out* const line = y + int64_t{row} * y_pitch;
        UNROLL
        for (int j = 0; j < TILE_N / 8; ++j) {
            const int c = col + 8 * j;
            const float* d = acc + 4 * j + 2 * half;
            if (c + 1 < n) {
                store_pair(line + c, d[0], d[1]);
            } else if (c < n) {
                store_one(line + c, d[0]);
            }
        }
    }
}

// The consumers' part. `y_map` is null where there is no map of y.
template <class Out>
DEVICE void consume(Shared& s, const CUtensorMap* y_map, Out* y, const int* tiles, int num_tiles,
                    int m, int n, int k, int y_pitch) {
    const int warpgroup = threadIdx.x / 128 - 1;
    Place at;
    for (int tile = blockIdx.x; tile < num_tiles; tile += gridDim.x) {
        const Tile t = tile_at(tiles, tile);
        float acc[TILE_N / 2];
        multiply(s, at, warpgroup, k, acc);
        const int row = t.row + warpgroup * 64;
        if (y_map && (row + 64 <= t.end || t.end == m)) {
            store_boxes(s, warpgroup, *y_map, row, t.col, n, acc);
        } else {
            store_registers(y, row, t.end, t.col, n, y_pitch, acc);
        }
    }
    if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
}

K_KERNEL(THREADS, 1)
gemm_bf16(bf16* y, const __grid_constant__ CUtensorMap y_map,
          const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
          const int* tiles, int num_tiles, int m, int n, int k, int y_pitch) {
    K_DYN_SMEM(raw);
    Shared& s = *reinterpret_cast<Shared*>(raw);
    init_barriers(s);
    if (threadIdx.x < 128) {
        register_dealloc<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce(s, x_map, w_map, tiles, num_tiles, k);
    } else {
        register_alloc<CONSUMER_REGISTERS>();
        consume(s, &y_map, y, tiles, num_tiles, m, n, k, y_pitch);
    }
}
K_EXPORT(gemm_bf16)

K_KERNEL(THREADS, 1)
gemm_bf16_f32(float* y, const __grid_constant__ CUtensorMap x_map,
              const __grid_constant__ CUtensorMap w_map, const int* tiles, int num_tiles, int m,
              int n, int k, int y_pitch) {
    K_DYN_SMEM(raw);
    Shared& s = *reinterpret_cast<Shared*>(raw);
    init_barriers(s);
    if (threadIdx.x < 128) {
        register_dealloc<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce(s, x_map, w_map, tiles, num_tiles, k);
    } else {
        register_alloc<CONSUMER_REGISTERS>();
        consume(s, nullptr, y, tiles, num_tiles, m, n, k, y_pitch);
    }
}
K_EXPORT(gemm_bf16_f32)
