// Quantises a row to e4m3: its scale and its numbers, from the registers of a block that holds it.
#pragma once

#include "common.cuh"

constexpr float E4M3_MAX = 448.0f;

// A row is divided into chunks: thread t of THREADS has the columns from 8 (i THREADS + t) on in chunk i, as far as
// there are columns.

// Rounded as if it had been stored in bf16.
template <int THREADS, int CHUNKS>
DEVICE void round_row(Vec8 (&chunk)[CHUNKS], int cols) {
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        if ((i * THREADS + threadIdx.x) * Vec8::SIZE >= cols) break;
        UNROLL
        for (float& v : chunk[i].v) v = to_float(to_bf16(v));
    }
}

// s = max |v| / 448, or 1 for a row of zeros; q = e4m3(v (1 / s)), or nothing where q is null. Behind the last column of
// a chunk are zeros. At most once per kernel.
template <int THREADS, int CHUNKS>
DEVICE void quantize_row(e4m3* q, float* s, Vec8 (&chunk)[CHUNKS], int cols) {
    float largest = 0.0f;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        if ((i * THREADS + threadIdx.x) * Vec8::SIZE >= cols) break;
        UNROLL
        for (float v : chunk[i].v) largest = fmaxf(largest, fabsf(v));
    }
    largest = block_max<THREADS>(largest);
    const float scale = largest > 0.0f ? largest / E4M3_MAX : 1.0f;
    if (threadIdx.x == 0) *s = scale;
    if (!q) return;

    const float factor = 1.0f / scale;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * THREADS + threadIdx.x) * Vec8::SIZE;
        if (col >= cols) break;
        UNROLL
        for (float& v : chunk[i].v) v *= factor;
        chunk[i].store(q + col, cols - col < Vec8::SIZE ? cols - col : Vec8::SIZE);
    }
}
