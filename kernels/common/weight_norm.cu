// weight_norm: w[a, :, :] = v[a, :, :] g[a] / |v[a, :, :]|
//
//   v, w    [outer, inner, cols] f32, runs along the last axis `pitch` elements apart
//   g       [outer] f32, elements g_step apart
//
// A block has one `a` and reads its v twice, the second time from L1 or L2.
//
//   launch  grid (outer), block THREADS, no dynamic shared memory
//   bound   HBM: 8 * outer * inner * pitch bytes
//   math    f32
//   error   2^-21 of each element

#include "common.cuh"

constexpr int THREADS = 256;

K_KERNEL(THREADS, 1)
weight_norm_f32(float* w, const float* v, const float* g, int inner, int cols, int pitch,
                int g_step) {
    const int64_t start = int64_t{blockIdx.x} * inner * pitch;
    float sum_sq = 0.0f;
    for (int i = threadIdx.x; i < inner * cols; i += THREADS) {
        const float value = v[start + int64_t{i / cols} * pitch + i % cols];
        sum_sq = fmaf(value, value, sum_sq);
    }
    const float scale = g[int64_t{blockIdx.x} * g_step] / sqrtf(block_sum<THREADS>(sum_sq));
    for (int i = threadIdx.x; i < inner * cols; i += THREADS) {
        const int64_t at = start + int64_t{i / cols} * pitch + i % cols;
        w[at] = v[at] * scale;
    }
}
K_EXPORT(weight_norm_f32)
