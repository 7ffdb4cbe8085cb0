// The activations of the transformer's layers, for the kernels that read a stored GEMM result and
// for the epilogues of GEMMs.
#pragma once

#include "common.cuh"

constexpr float LIMIT = 7.0f;

DEVICE float gelu7(float u) {
    const float a = fminf(u, LIMIT);
    return a * sigmoid(1.702f * a);
}

DEVICE float swiglu7(float a, float b) {
    return gelu7(a) * (fminf(fmaxf(b, -LIMIT), LIMIT) + 1.0f);
}

// Eight columns of u, each through F.
template <float (*F)(float)>
DEVICE Vec8 load_mapped(const bf16* u, const Chunk& at, int u_pitch) {
    Vec8 value = Vec8::load(u + at.in(u_pitch));
    UNROLL
    for (float& v : value.v) v = F(v);
    return value;
}

// swiglu7 of the pairs of columns of u that make eight columns of the result.
DEVICE Vec8 load_swiglu7(const bf16* u, const Chunk& at, int u_pitch) {
    u += int64_t{at.row} * u_pitch + 2 * at.col;
    // The second half of the pairs; with four columns or less to make, it may lie behind the row.
    const Vec8 low = Vec8::load(u);
    Vec8 high{};
    if (at.count > Vec8::SIZE / 2) high = Vec8::load(u + Vec8::SIZE);
    Vec8 value;
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        const Vec8& pairs = k < Vec8::SIZE / 2 ? low : high;
        value.v[k] = swiglu7(pairs.v[2 * k % Vec8::SIZE], pairs.v[2 * k % Vec8::SIZE + 1]);
    }
    return value;
}
