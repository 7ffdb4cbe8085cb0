// conformance: one small kernel per group of instructions in instructions.cuh, on numbers whose results are
// exact, so that a GPU and the emulator of tests/emulate can be held against the same expected bytes.
// src/qualify/instructions has these; conformance_wgmma.cu does the same for wgmma.
//
//   launch  one block, or one cluster of two; boxes take SMEM_BYTES of dynamic shared memory
//   bound   none, these are tests
//   math    exact, but for the approximate functions
//   error   none; fast_exp2 and fast_rsqrt 2 ulp, fast_reciprocal 1 ulp

#include "common.cuh"
#include "instructions.cuh"

constexpr int SMEM_BYTES = 65536;
static_assert(SMEM_BYTES == 256 * 256);  // the largest box of bytes

// ---- TMA ----------------------------------------------------------------------------------------

// An mbarrier for one phase, ready for all threads.
DEVICE void init_barrier(uint64_t* bar) {
    if (threadIdx.x == 0) {
        mbarrier_init(bar, 1);
        fence_mbarrier_init();
    }
    __syncthreads();
}

// Loads the box at `at`, copies shared memory as it lies to `raw`, turns every bit over, and stores
// the box to the same place of `to`; what is in shared memory then is overwritten as soon as the
// store has read it.
template <int RANK>
DEVICE void copy_box(unsigned char* raw, const CUtensorMap& to, const CUtensorMap& from,
                     const int* at, int bytes) {
    K_DYN_SMEM(box);
    K_SMEM(uint64_t, bar);
    int place[RANK];
    for (int i = 0; i < RANK; ++i) place[i] = at[i];
    init_barrier(&bar);
    if (threadIdx.x == 0) {
        prefetch_tensormap(from);
        mbarrier_arrive_expect_tx(&bar, bytes);
        tma_load(box, from, &bar, place);
    }
    mbarrier_wait(&bar, 0);
    for (int i = threadIdx.x; i < bytes; i += 128) raw[i] = box[i];
    for (int i = threadIdx.x; i < bytes; i += 128) box[i] ^= 0xff;
    fence_proxy_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        tma_store(to, box, place);
        bulk_commit();
        bulk_wait_read<0>();
    }
    __syncthreads();
    for (int i = threadIdx.x; i < bytes; i += 128) box[i] = 0x77;
    if (threadIdx.x == 0) bulk_wait<0>();
}

K_KERNEL(128, 1)
copy_box_1d(unsigned char* raw, const __grid_constant__ CUtensorMap to,
            const __grid_constant__ CUtensorMap from, const int* at, int bytes) {
    copy_box<1>(raw, to, from, at, bytes);
}
K_EXPORT(copy_box_1d)

K_KERNEL(128, 1)
copy_box_2d(unsigned char* raw, const __grid_constant__ CUtensorMap to,
            const __grid_constant__ CUtensorMap from, const int* at, int bytes) {
    copy_box<2>(raw, to, from, at, bytes);
}
K_EXPORT(copy_box_2d)

K_KERNEL(128, 1)
copy_box_3d(unsigned char* raw, const __grid_constant__ CUtensorMap to,
            const __grid_constant__ CUtensorMap from, const int* at, int bytes) {
    copy_box<3>(raw, to, from, at, bytes);
}
K_EXPORT(copy_box_3d)

K_KERNEL(128, 1)
copy_box_4d(unsigned char* raw, const __grid_constant__ CUtensorMap to,
            const __grid_constant__ CUtensorMap from, const int* at, int bytes) {
    copy_box<4>(raw, to, from, at, bytes);
}
K_EXPORT(copy_box_4d)

K_KERNEL(128, 1)
copy_box_5d(unsigned char* raw, const __grid_constant__ CUtensorMap to,
            const __grid_constant__ CUtensorMap from, const int* at, int bytes) {
    copy_box<5>(raw, to, from, at, bytes);
}
K_EXPORT(copy_box_5d)

// ---- clusters -----------------------------------------------------------------------------------

// Block 0 loads the box at `at` into both blocks; block b copies its shared memory to raw[b].
template <int RANK>
DEVICE void share_box(unsigned char* raw, const CUtensorMap& from, const int* at, int bytes) {
    K_DYN_SMEM(box);
    K_SMEM(uint64_t, bar);
    int place[RANK];
    for (int i = 0; i < RANK; ++i) place[i] = at[i];
    init_barrier(&bar);
    cluster_sync();  // the other block's barrier is there
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&bar, bytes);
        if (cluster_rank() == 0) tma_load_multicast(box, from, &bar, 3, place);
    }
    mbarrier_wait(&bar, 0);
    raw += static_cast<int>(cluster_rank()) * bytes;
    for (int i = threadIdx.x; i < bytes; i += 128) raw[i] = box[i];
    cluster_sync();  // nobody loads into a block that has ended
}

K_KERNEL_CLUSTER(128, 1, 2)
share_box_2d(unsigned char* raw, const __grid_constant__ CUtensorMap from, const int* at,
             int bytes) {
    share_box<2>(raw, from, at, bytes);
}
K_EXPORT(share_box_2d)

K_KERNEL_CLUSTER(128, 1, 2)
share_box_3d(unsigned char* raw, const __grid_constant__ CUtensorMap from, const int* at,
             int bytes) {
    share_box<3>(raw, from, at, bytes);
}
K_EXPORT(share_box_3d)

K_KERNEL_CLUSTER(128, 1, 2)
share_box_4d(unsigned char* raw, const __grid_constant__ CUtensorMap from, const int* at,
             int bytes) {
    share_box<4>(raw, from, at, bytes);
}
K_EXPORT(share_box_4d)

constexpr int RING_STAGES = 3;
constexpr int RING_COLS = 256;
constexpr int RING_HALF = RING_COLS / 2;

struct alignas(128) Ring {
    float row[RING_STAGES][RING_COLS];
    uint64_t full[RING_STAGES], empty[RING_STAGES];
};

DEVICE void load_rows(Ring& s, const CUtensorMap& x, int rounds) {
    const int half = static_cast<int>(cluster_rank()) * RING_HALF;
    for (int round = 0; round < rounds; ++round) {
        const int stage = round % RING_STAGES;
        mbarrier_wait(&s.empty[stage], round / RING_STAGES % 2 ^ 1);
        mbarrier_arrive_expect_tx(&s.full[stage], RING_COLS * 4);
        tma_load_multicast(s.row[stage] + half, x, &s.full[stage], 3, {half, round});
    }
}

DEVICE void add_rows(Ring& s, float* y, int rounds) {
    const int thread = threadIdx.x - 32;
    float sums[2] = {0.0f, 0.0f};
    for (int round = 0; round < rounds; ++round) {
        const int stage = round % RING_STAGES;
        mbarrier_wait(&s.full[stage], round / RING_STAGES % 2);
        sums[0] += s.row[stage][thread];
        sums[1] += s.row[stage][thread + RING_HALF];
        __syncwarp();
        if (thread % 32 < 2) mbarrier_arrive_cluster(&s.empty[stage], thread % 32);
    }
    const int rank = static_cast<int>(cluster_rank());
    for (int i = 0; i < 2; ++i) y[rank * RING_COLS + thread + i * RING_HALF] = (rank + 1) * sums[i];
}

// y[b][i] = (b + 1) * sum of x[r][i] over all rounds r, by two blocks that share loads: in each
// round block b loads half b of the row of 256 into both blocks, in boxes of 128 x 1, and a stage is
// free again when both blocks have read it.
K_KERNEL_CLUSTER(160, 1, 2)
multicast(float* y, const __grid_constant__ CUtensorMap x, int rounds) {
    K_SMEM(Ring, s);
    if (threadIdx.x == 0) {
        for (int i = 0; i < RING_STAGES; ++i) {
            mbarrier_init(&s.full[i], 1);
            mbarrier_init(&s.empty[i], 8);  // four warps of each block
        }
        fence_mbarrier_init();
    }
    cluster_sync();  // the other block's barriers are there
    if (threadIdx.x == 0) load_rows(s, x, rounds);
    if (threadIdx.x >= 32) add_rows(s, y, rounds);
    cluster_sync();  // nobody signals into a block that has ended
}
K_EXPORT(multicast)

// ---- warps and threads --------------------------------------------------------------------------

// y[4][256] bf16: four 16x16 matrices made from x[16][16] by ldmatrix, then stmatrix, each without
// and with a transpose.
K_KERNEL(32, 1) transposes(bf16* y, const bf16* x) {
    K_SMEM(bf16[256], tile);
    K_SMEM(bf16[256], out);
    for (int i = threadIdx.x; i < 256; i += 32) tile[i] = x[i];
    // Matrix i covers rows 8(i % 2) and columns 8(i / 2).
    const int at = threadIdx.x % 16 * 16 + threadIdx.x / 16 * 8;
    for (int mode = 0; mode < 4; ++mode) {
        uint32_t r[4];
        __syncwarp();
        mode % 2 ? ldmatrix_x4<true>(r, tile + at) : ldmatrix_x4(r, tile + at);
        mode / 2 ? stmatrix_x4<true>(out + at, r) : stmatrix_x4(out + at, r);
        __syncwarp();
        for (int i = threadIdx.x; i < 256; i += 32) y[mode * 256 + i] = out[i];
    }
}
K_EXPORT(transposes)

// y[8][32]: shuffles and votes of the numbers x[32].
K_KERNEL(32, 1) lanes(int* y, const int* x) {
    const int lane = threadIdx.x, v = x[lane];
    y[lane] = __shfl_sync(ALL_LANES, v, 31 - lane);
    y[32 + lane] = __shfl_xor_sync(ALL_LANES, v, 5);
    y[64 + lane] = __shfl_down_sync(ALL_LANES, v, 3);
    y[96 + lane] = __shfl_up_sync(ALL_LANES, v, 3, 8);
    y[128 + lane] = static_cast<int>(__ballot_sync(ALL_LANES, v > 0));
    y[160 + lane] = __any_sync(ALL_LANES, v == x[7]);
    y[192 + lane] = __all_sync(ALL_LANES, v == x[7]);
    // Half a warp on its own.
    y[224 + lane] = lane < 16 ? __shfl_xor_sync(0xffff, v, 1) : v;
}
K_EXPORT(lanes)

// pairs[2][n]: (x, -x) in bf16 and in e4m3; back[2][n]: x as they hold it.
K_KERNEL(128, 1) conversions(int* pairs, float* back, const float* x, int n) {
    for (int i = threadIdx.x; i < n; i += 128) {
        pairs[i] = static_cast<int>(pack_bf16(x[i], -x[i]));
        pairs[n + i] = pack_e4m3(x[i], -x[i]);
        back[i] = to_float(to_bf16(x[i]));
        back[n + i] = to_float(e4m3{static_cast<uint8_t>(pairs[n + i] & 0xff)});
    }
}
K_EXPORT(conversions)

// y[3][n]: the approximate functions: 2^x, 1 / sqrt(|x|), 1 / x.
K_KERNEL(128, 1) functions(float* y, const float* x, int n) {
    for (int i = threadIdx.x; i < n; i += 128) {
        y[i] = fast_exp2(x[i]);
        y[n + i] = fast_rsqrt(x[i] < 0.0f ? -x[i] : x[i]);
        y[2 * n + i] = fast_reciprocal(x[i]);
    }
}
K_EXPORT(functions)

// y[0] counts threads, y[1 + i] is what warp i of four read behind a chain of named barriers: warp
// i waits for warp i - 1, adds one to a number in shared memory, and lets warp i + 1 go on.
K_KERNEL(128, 1) chain(int* y) {
    K_SMEM(int, number);
    const int warp = threadIdx.x / 32;
    atomicAdd(y, 1);
    if (threadIdx.x == 0) number = 10;
    if (warp > 0) named_barrier_sync(warp, 64);
    if (threadIdx.x % 32 == 0) {
        y[1 + warp] = number;
        number += 1;
    }
    __syncwarp();
    if (warp < 3) named_barrier_arrive(warp + 1, 64);
}
K_EXPORT(chain)

constexpr int SLOTS = 2;

struct Slots {
    int value[SLOTS][32];
    uint64_t full[SLOTS], empty[SLOTS];
};

// y[rounds][32]: warp 0 hands numbers to warp 1 through two slots, phase after phase of their
// mbarriers; lane i takes what lane 31 - i put there.
K_KERNEL(64, 1) phases(int* y, int rounds) {
    K_SMEM(Slots, s);
    const int lane = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        for (int i = 0; i < SLOTS; ++i) {
            mbarrier_init(&s.full[i], 1);
            mbarrier_init(&s.empty[i], 32);
        }
        fence_mbarrier_init();
    }
    __syncthreads();
    for (int round = 0; round < rounds; ++round) {
        const int slot = round % SLOTS, parity = round / SLOTS % 2;
        if (threadIdx.x < 32) {
            mbarrier_wait(&s.empty[slot], parity ^ 1);
            s.value[slot][lane] = round * 100 + lane;
            __syncwarp();
            if (lane == 0) mbarrier_arrive(&s.full[slot]);
        } else {
            mbarrier_wait(&s.full[slot], parity);
            y[round * 32 + lane] = s.value[slot][31 - lane];
            mbarrier_arrive(&s.empty[slot]);
        }
    }
}
K_EXPORT(phases)

// y[384]: warpgroup 0 gives registers back, warpgroups 1 and 2 take them.
K_KERNEL(384, 1) registers(int* y) {
    if (threadIdx.x < 128) {
        register_dealloc<24>();
        y[threadIdx.x] = threadIdx.x;
    } else {
        register_alloc<240>();
        y[threadIdx.x] = 1000 + threadIdx.x;
    }
}
K_EXPORT(registers)
