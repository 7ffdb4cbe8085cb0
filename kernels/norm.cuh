// Rows normalised in registers: y = x / rms(x) * (1 + w), rms(v) = sqrt(mean(v^2) + eps), for the kernels that store y
// and for those that quantise it.
#pragma once

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int CHUNKS = 3;                                // vectors of 8 that a thread holds
constexpr int ROW_COLS = CHUNKS * THREADS * Vec8::SIZE;  // 6144 covers 5120
constexpr int HEAD_COLS = CHUNKS * 32 * Vec8::SIZE;

// The sum over the threads that share a head: a warp or the block.
template <int SHARING>
DEVICE float run_sum(float x) {
    static_assert(SHARING == 32 || SHARING == THREADS);
    if constexpr (SHARING == 32) return warp_sum(x);
    return block_sum<SHARING>(x);
}

// This thread's share of a normalised head: x points to the head, w to its norm weight or is null.
template <int SHARING, class In, class W>
DEVICE void norm_run(Vec8 (&chunk)[CHUNKS], const In* x, const W* w, int lane, int cols,
                     float eps) {
    __builtin_assume(cols <= (SHARING == 32 ? HEAD_COLS : ROW_COLS));  // the launcher checks
    float sum_sq = 0.0f;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * SHARING + lane) * Vec8::SIZE;
        if (col >= cols) break;
        chunk[i] = Vec8::load(x + col);
        UNROLL
        for (float v : chunk[i].v) sum_sq += v * v;
    }

    const float scale = rsqrtf(run_sum<SHARING>(sum_sq) / cols + eps);

    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * SHARING + lane) * Vec8::SIZE;
        if (col >= cols) break;
        Vec8 gain{};
        if (w) gain = Vec8::load(w + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) chunk[i].v[k] *= scale * (1.0f + gain.v[k]);
    }
}

// Adds and stores the row that x, z and s begin with, and normalises it in registers.
template <class Z>
DEVICE void add_norm(Vec8 (&chunk)[CHUNKS], float* s, const float* x, const Z* z, const float* w,
                     int cols, float eps) {
    __builtin_assume(cols <= ROW_COLS);  // the launcher checks
    float sum_sq = 0.0f;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * THREADS + threadIdx.x) * Vec8::SIZE;
        if (col >= cols) break;
        chunk[i] = Vec8::load(x + col);
        const Vec8 other = Vec8::load(z + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) {
            const float v = chunk[i].v[k] += other.v[k];
            sum_sq += v * v;
        }
        chunk[i].store(s + col);
    }

    const float scale = rsqrtf(block_sum<THREADS>(sum_sq) / cols + eps);

    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * THREADS + threadIdx.x) * Vec8::SIZE;
        if (col >= cols) break;
        const Vec8 gain = Vec8::load(w + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) chunk[i].v[k] *= scale * (1.0f + gain.v[k]);
    }
}
