// One small kernel per group of instructions in hopper.cuh, on whole numbers, so that results are
// exact.
//
//   launch  one block of 128 threads (warp kernels: 32), 64 KB of shared memory for boxes
//   bound   none, these are tests
//   math    exact
//   error   none

#include "common.cuh"
#include "wgmma_gen.cuh"

// ---- TMA ----------------------------------------------------------------------------------------

// An mbarrier for one phase, ready for all threads.
DEVICE void init_barrier(uint64_t* bar) {
    if (threadIdx.x == 0) {
        mbarrier_init(bar, 1);
        fence_mbarrier_init();
    }
    __syncthreads();
}

// Loads the box at `at`, copies shared memory as it lies to `raw`, and stores the box to the same
// place of `to`.
template <int RANK>
DEVICE void copy_box(unsigned char* raw, const CUtensorMap& to, const CUtensorMap& from,
                     const int* at, int bytes) {
    K_DYN_SMEM(box);
    K_SMEM(uint64_t, bar);
    int place[RANK];
    for (int i = 0; i < RANK; ++i) place[i] = at[i];
    init_barrier(&bar);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&bar, bytes);
        tma_load(box, from, &bar, place);
    }
    mbarrier_wait(&bar, 0);
    for (int i = threadIdx.x; i < bytes; i += 128) raw[i] = box[i];
    if (threadIdx.x == 0) {
        tma_store(to, box, place);
        bulk_commit();
        bulk_wait<0>();
    }
}

#define COPY_BOX(rank)                                                                       \
    K_KERNEL(128, 1)                                                                         \
    copy_box_##rank##d(unsigned char* raw, const __grid_constant__ CUtensorMap to,           \
                       const __grid_constant__ CUtensorMap from, const int* at, int bytes) { \
        copy_box<rank>(raw, to, from, at, bytes);                                            \
    }                                                                                        \
    K_EXPORT(copy_box_##rank##d)
COPY_BOX(1)
COPY_BOX(2)
COPY_BOX(3)
COPY_BOX(4)
COPY_BOX(5)

// ---- wgmma --------------------------------------------------------------------------------------

// How an operand lies in shared memory: boxes side by side along the tensor's inner dimension.
struct Layout {
    int boxes, box_cols, box_bytes, leading, stride, swizzle, step_bytes;
};

DEVICE void load_boxes(unsigned char* to, const CUtensorMap& map, uint64_t* bar, const Layout& l) {
    for (int i = 0; i < l.boxes; ++i) tma_load(to + i * l.box_bytes, map, bar, {i * l.box_cols, 0});
}

DEVICE uint64_t describe(const unsigned char* at, const Layout& l, int step) {
    return wgmma_descriptor(at + step * l.step_bytes, l.leading, l.stride,
                            static_cast<Swizzle>(l.swizzle));
}

// y[64, 64] from the accumulators of one warpgroup.
DEVICE void store_tile(float* y, const float (&acc)[32]) {
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, col = threadIdx.x % 4 * 2;
    UNROLL
    for (int i = 0; i < 32; ++i) y[(row + i % 4 / 2 * 8) * 64 + i / 4 * 8 + col + i % 2] = acc[i];
}

// y = a b with both operands from memory; `layouts` holds those of a and b. `multiply(acc, a, b,
// step)` is one step.
template <class Multiply>
DEVICE void product_of_boxes(float* y, const CUtensorMap& a, const CUtensorMap& b,
                             const int* layouts, int steps, Multiply multiply) {
    constexpr int HALF = 32768;
    K_DYN_SMEM(boxes);
    K_SMEM(uint64_t, bar);
    const Layout* l = reinterpret_cast<const Layout*>(layouts);
    init_barrier(&bar);
    if (threadIdx.x == 0) {
        mbarrier_arrive_expect_tx(&bar, l[0].boxes * l[0].box_bytes + l[1].boxes * l[1].box_bytes);
        load_boxes(boxes, a, &bar, l[0]);
        load_boxes(boxes + HALF, b, &bar, l[1]);
    }
    mbarrier_wait(&bar, 0);
    float acc[32];
    wgmma_pin(acc);
    for (int i = 0; i < steps; ++i) {
        wgmma_fence();
        multiply(acc, describe(boxes, l[0], i), describe(boxes + HALF, l[1], i), i);
    }
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_pin(acc);
    store_tile(y, acc);
}

// Suffixes: n for operands whose K lies along memory, t for those whose M or N does; a first, then
// b.
#define PRODUCT(name, call)                                                                \
    K_KERNEL(128, 1)                                                                       \
    product_##name(float* y, const __grid_constant__ CUtensorMap a,                        \
                   const __grid_constant__ CUtensorMap b, const int* layouts, int steps) { \
        product_of_boxes(y, a, b, layouts, steps,                                          \
                         [](float(&acc)[32], uint64_t a_at, uint64_t b_at, int i) {        \
                             call(acc, a_at, b_at, i);                                     \
                         });                                                               \
    }                                                                                      \
    K_EXPORT(product_##name)
PRODUCT(bf16_nn, wgmma_m64n64k16_bf16)
PRODUCT(bf16_nt, (wgmma_m64n64k16_bf16<0, 1>))
PRODUCT(bf16_tt, (wgmma_m64n64k16_bf16<1, 1>))
PRODUCT(e4m3_nn, wgmma_m64n64k32_e4m3)

// A from registers: a_rows [64, 32 bytes per step] K-major in global memory.
template <class Multiply>
DEVICE void product_of_registers(float* y, const unsigned char* a_rows, const CUtensorMap& a,
                                 const CUtensorMap& b, const int* layouts, int steps,
                                 Multiply multiply) {
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, byte = threadIdx.x % 4 * 4;
    product_of_boxes(
        y, a, b, layouts, steps, [=](float(&acc)[32], uint64_t, uint64_t b_at, int step) {
            uint32_t r[4];
            UNROLL
            for (int i = 0; i < 4; ++i) {
                r[i] = *reinterpret_cast<const uint32_t*>(a_rows + (row + i % 2 * 8) * steps * 32 +
                                                          step * 32 + byte + i / 2 * 16);
            }
            wgmma_fence();
            multiply(acc, r, b_at, step);
            wgmma_commit();
            wgmma_wait<0>();
        });
}

#define REGISTER_PRODUCT(name, call)                                                             \
    K_KERNEL(128, 1)                                                                             \
    product_##name(float* y, const unsigned char* a_rows, const __grid_constant__ CUtensorMap a, \
                   const __grid_constant__ CUtensorMap b, const int* layouts, int steps) {       \
        product_of_registers(y, a_rows, a, b, layouts, steps,                                    \
                             [](float(&acc)[32], const uint32_t(&r)[4], uint64_t b_at, int i) {  \
                                 call(acc, r, b_at, i);                                          \
                             });                                                                 \
    }                                                                                            \
    K_EXPORT(product_##name)
REGISTER_PRODUCT(bf16_rn, wgmma_m64n64k16_bf16)
REGISTER_PRODUCT(bf16_rt, (wgmma_m64n64k16_bf16<1>))
REGISTER_PRODUCT(e4m3_rn, wgmma_m64n64k32_e4m3)

// ---- a warp -------------------------------------------------------------------------------------

// y[4][32][8] bf16: four 16x16 matrices made from x[16][16] by ldmatrix, then stmatrix, each
// without and with a transpose.
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

// pairs[2][n]: (x, -x) in bf16 and in e4m3; back[2][n]: x as they hold it. One block.
K_KERNEL(128, 1) conversions(unsigned* pairs, float* back, const float* x, int n) {
    for (int i = threadIdx.x; i < n; i += 128) {
        pairs[i] = pack_bf16(x[i], -x[i]);
        pairs[n + i] = pack_e4m3(x[i], -x[i]);
        back[i] = to_float(to_bf16(x[i]));
        back[n + i] = to_float(e4m3{static_cast<uint8_t>(pairs[n + i] & 0xff)});
    }
}
K_EXPORT(conversions)

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
