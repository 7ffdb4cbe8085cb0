// conformance_wgmma: y = a b^T by every wgmma of wgmma_gen.cuh, on whole numbers, so that a GPU and
// the emulator of tests/emulate can be held against the same expected sums. src/qualify/instructions
// has these.
//
//   a, b     [64, K] and [n, K] in bf16 or e4m3, either of the two extents along memory
//   a_rows   [64, K], where a comes from registers
//   layouts  [2] Layout: how boxes of a and of b lie in shared memory
//   y        [64, n] f32
//
//   launch  grid 1, block 128, dynamic shared memory SMEM_BYTES
//   bound   none, these are tests
//   math    the tensor cores' own
//   error   none

#include "common.cuh"
#include "wgmma_gen.cuh"

constexpr int SMEM_BYTES = 65536;
constexpr int B_AT = SMEM_BYTES / 2;  // where b lies

// Products one after another that make one sum: K is 64 for bf16 and 128 for e4m3.
constexpr int STEPS = 4;

// How an operand lies in shared memory: boxes side by side along the tensor's inner dimension, and
// where each step begins.
struct Layout {
    int boxes, box_cols, box_bytes, leading, stride, swizzle, offset[STEPS];
};

DEVICE void load_boxes(unsigned char* to, const CUtensorMap& map, uint64_t* bar, const Layout& l) {
    for (int i = 0; i < l.boxes; ++i) tma_load(to + i * l.box_bytes, map, bar, {i * l.box_cols, 0});
}

DEVICE uint64_t describe(const unsigned char* at, const Layout& l, int step) {
    return wgmma_descriptor(at + l.offset[step], l.leading, l.stride,
                            static_cast<Swizzle>(l.swizzle));
}

// y[64][N] from the accumulators of one warpgroup.
template <int N>
DEVICE void store_tile(float* y, const float (&acc)[N / 2]) {
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, col = threadIdx.x % 4 * 2;
    UNROLL
    for (int i = 0; i < N / 2; ++i) y[(row + i % 4 / 2 * 8) * N + i / 4 * 8 + col + i % 2] = acc[i];
}

// Brings both operands to shared memory.
DEVICE void load_operands(const CUtensorMap& a, const CUtensorMap& b, const Layout* l,
                          unsigned char* boxes, uint64_t* bar) {
    if (threadIdx.x == 0) {
        mbarrier_init(bar, 1);
        fence_mbarrier_init();
        mbarrier_arrive_expect_tx(bar, l[0].boxes * l[0].box_bytes + l[1].boxes * l[1].box_bytes);
        load_boxes(boxes, a, bar, l[0]);
        load_boxes(boxes + B_AT, b, bar, l[1]);
    }
    __syncthreads();
    mbarrier_wait(bar, 0);
}

// y[64][N] = a b^T; `layouts` holds those of a and b. `multiply(acc, a, b, step)` is one step.
template <int N, class Multiply>
DEVICE void product(float* y, const CUtensorMap& a, const CUtensorMap& b, const int* layouts,
                    Multiply multiply) {
    K_DYN_SMEM(boxes);
    K_SMEM(uint64_t, bar);
    const Layout* l = reinterpret_cast<const Layout*>(layouts);
    load_operands(a, b, l, boxes, &bar);
    uint64_t a_at[STEPS], b_at[STEPS];
    UNROLL
    for (int i = 0; i < STEPS; ++i) {
        a_at[i] = describe(boxes, l[0], i);
        b_at[i] = describe(boxes + B_AT, l[1], i);
    }
    float acc[N / 2];
    wgmma_pin(acc);
    wgmma_fence();
    UNROLL
    for (int i = 0; i < STEPS; ++i) multiply(acc, a_at[i], b_at[i], i);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_pin(acc);
    store_tile<N>(y, acc);
}

// The same with a from registers: a_rows [64][32 STEPS] bytes in global memory, K-major.
template <int N, class Multiply>
DEVICE void product_of_registers(float* y, const unsigned char* a_rows, const CUtensorMap& a,
                                 const CUtensorMap& b, const int* layouts, Multiply multiply) {
    const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, byte = threadIdx.x % 4 * 4;
    uint32_t r[STEPS][4];
    UNROLL
    for (int i = 0; i < STEPS * 4; ++i) {
        r[i / 4][i % 4] = *reinterpret_cast<const uint32_t*>(
            a_rows + (row + i % 2 * 8) * 32 * STEPS + i / 4 * 32 + byte + i % 4 / 2 * 16);
    }
    product<N>(y, a, b, layouts, [&](float(&acc)[N / 2], uint64_t, uint64_t b_at, int step) {
        multiply(acc, r[step], b_at, step);
    });
}

// Every N that has an instruction, and those whose rows of B can lie along memory in whole spans
// of every swizzle.
#define EVERY_N(run) run(8) run(16) run(32) run(64) run(96) run(112) run(128) run(192) run(256)
#define WHOLE_SPANS(run) run(64) run(128) run(256)

// The cases of a switch over n, for operands from memory and from registers.
#define MEMORY(N, ...)                                                                     \
    case N:                                                                                \
        return product<N>(y, a, b, layouts,                                                \
                          [](float(&acc)[N / 2], uint64_t a_at, uint64_t b_at, int step) { \
                              __VA_ARGS__(acc, a_at, b_at, step);                          \
                          });
#define REGISTERS(N, ...)                                                             \
    case N:                                                                           \
        return product_of_registers<N>(                                               \
            y, a_rows, a, b, layouts,                                                 \
            [](float(&acc)[N / 2], const uint32_t(&r)[4], uint64_t b_at, int step) {  \
                __VA_ARGS__(acc, r, b_at, step);                                      \
            });

// Suffixes: n for operands whose K lies along memory, t for those whose M or N does, r for
// registers; a first, then b.
K_KERNEL(128, 1)
product_bf16_nn(float* y, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) MEMORY(N, wgmma_m64n##N##k16_bf16)
    switch (n) { EVERY_N(RUN) }
#undef RUN
}
K_EXPORT(product_bf16_nn)

K_KERNEL(128, 1)
product_bf16_nt(float* y, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) MEMORY(N, wgmma_m64n##N##k16_bf16<0, 1>)
    switch (n) { WHOLE_SPANS(RUN) }
#undef RUN
}
K_EXPORT(product_bf16_nt)

K_KERNEL(128, 1)
product_bf16_tn(float* y, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) MEMORY(N, wgmma_m64n##N##k16_bf16<1, 0>)
    switch (n) { WHOLE_SPANS(RUN) }
#undef RUN
}
K_EXPORT(product_bf16_tn)

K_KERNEL(128, 1)
product_bf16_tt(float* y, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) MEMORY(N, wgmma_m64n##N##k16_bf16<1, 1>)
    switch (n) { WHOLE_SPANS(RUN) }
#undef RUN
}
K_EXPORT(product_bf16_tt)

K_KERNEL(128, 1)
product_bf16_rn(float* y, const unsigned char* a_rows, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) REGISTERS(N, wgmma_m64n##N##k16_bf16)
    switch (n) { EVERY_N(RUN) }
#undef RUN
}
K_EXPORT(product_bf16_rn)

K_KERNEL(128, 1)
product_bf16_rt(float* y, const unsigned char* a_rows, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) REGISTERS(N, wgmma_m64n##N##k16_bf16<1>)
    switch (n) { WHOLE_SPANS(RUN) }
#undef RUN
}
K_EXPORT(product_bf16_rt)

K_KERNEL(128, 1)
product_e4m3_nn(float* y, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) MEMORY(N, wgmma_m64n##N##k32_e4m3)
    switch (n) { EVERY_N(RUN) }
#undef RUN
}
K_EXPORT(product_e4m3_nn)

K_KERNEL(128, 1)
product_e4m3_rn(float* y, const unsigned char* a_rows, const __grid_constant__ CUtensorMap a,
                const __grid_constant__ CUtensorMap b, const int* layouts, int n) {
#define RUN(N) REGISTERS(N, wgmma_m64n##N##k32_e4m3)
    switch (n) { EVERY_N(RUN) }
#undef RUN
}
K_EXPORT(product_e4m3_rn)
