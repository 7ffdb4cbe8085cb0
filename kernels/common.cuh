// What most kernels share: vectors of eight numbers moved by 16-byte instructions, the division of
// rows into them, sums and maxima over a warp and a block, and the sigmoid.
#pragma once

#include "dialect.cuh"

constexpr uint32_t ALL_LANES = 0xffffffff;

// Eight numbers, in memory as bf16 or f32 and worked on as f32; e4m3 is only written. Addresses are aligned to the
// eight numbers, or to 16 bytes if that is less.
struct Vec8 {
    static constexpr int SIZE = 8;
    float v[SIZE];

    DEVICE static Vec8 load(const bf16* p) {
        const uint4 raw = *reinterpret_cast<const uint4*>(p);
        const uint32_t pairs[SIZE / 2] = {raw.x, raw.y, raw.z, raw.w};
        Vec8 out;
        UNROLL
        for (int i = 0; i < SIZE / 2; ++i) {
            out.v[2 * i] = bits_to_float(pairs[i] << 16);
            out.v[2 * i + 1] = bits_to_float(pairs[i] & 0xffff0000);
        }
        return out;
    }

    DEVICE static Vec8 load(const float* p) {
        const float4 a = *reinterpret_cast<const float4*>(p);
        const float4 b = *reinterpret_cast<const float4*>(p + 4);
        return Vec8{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
    }

    DEVICE void store(bf16* p) const {
        *reinterpret_cast<uint4*>(p) = uint4{pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]),
                                             pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
    }

    DEVICE void store(float* p) const {
        *reinterpret_cast<float4*>(p) = float4{v[0], v[1], v[2], v[3]};
        *reinterpret_cast<float4*>(p + 4) = float4{v[4], v[5], v[6], v[7]};
    }

    DEVICE void store(e4m3* p) const {
        const uint32_t pairs[SIZE / 2] = {pack_e4m3(v[0], v[1]), pack_e4m3(v[2], v[3]),
                                          pack_e4m3(v[4], v[5]), pack_e4m3(v[6], v[7])};
        *reinterpret_cast<uint2*>(p) = uint2{pairs[0] | pairs[1] << 16, pairs[2] | pairs[3] << 16};
    }

    // Only the first `count`.
    template <class T>
    DEVICE void store(T* p, int count) const {
        if (count == SIZE) return store(p);
        UNROLL
        for (int i = 0; i < SIZE; ++i) {
            if (i < count) store_one(p + i, v[i]);
        }
    }

    DEVICE static void store_one(bf16* p, float x) { *p = to_bf16(x); }
    DEVICE static void store_one(float* p, float x) { *p = x; }
    DEVICE static void store_one(e4m3* p, float x) {
        p->bits = static_cast<uint8_t>(pack_e4m3(x, 0.0f));
    }
};

// For templates over both types.
DEVICE float to_float(float x) {
    return x;
}

// Eight columns of a row, of which the first `count` exist. Where every element stands alone, each thread has one such
// chunk, row after row. A matrix begins at a multiple of 8 columns of a buffer whose pitch is a multiple of 8, so that
// at a row's end a whole chunk may be read; only what exists is stored.
struct Chunk {
    int row, col, count;

    DEVICE static Chunk of_thread(int cols) {
        const uint32_t chunks = static_cast<uint32_t>(cols + Vec8::SIZE - 1) / Vec8::SIZE;
        const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
        const int row = static_cast<int>(i / chunks);
        const int col = static_cast<int>(i % chunks) * Vec8::SIZE;
        return Chunk{row, col, cols - col < Vec8::SIZE ? cols - col : Vec8::SIZE};
    }

    // Its place in a matrix whose rows lie `pitch` elements apart.
    DEVICE int64_t in(int pitch) const { return int64_t{row} * pitch + col; }
};

// The group that owns `row`: group g owns the rows from ends[g - 1] up to ends[g], and the last end
// is beyond `row`.
DEVICE int group_of(const int* ends, int row) {
    int group = 0;
    while (row >= ends[group]) ++group;
    return group;
}

// 1 / (1 + e^-x), off by a few units in the last place.
DEVICE float sigmoid(float x) {
    constexpr float LOG2_E = 1.44269504f;
    return fast_reciprocal(1.0f + fast_exp2(-LOG2_E * x));
}

// Every lane gets the sum over its warp.
DEVICE float warp_sum(float x) {
    UNROLL
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(ALL_LANES, x, lane);
    return x;
}

// Every lane gets the largest over its warp.
DEVICE float warp_max(float x) {
    UNROLL
    for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lane));
    return x;
}

// Every thread gets what OF_WARP makes of the block's numbers, to which zero adds nothing. Call it at most once per
// kernel and OF_WARP: `parts` is not reused.
template <int THREADS, float (*OF_WARP)(float)>
DEVICE float of_block(float x) {
    static_assert(THREADS % 32 == 0 && THREADS <= 1024);
    K_SMEM(float[THREADS / 32], parts);
    x = OF_WARP(x);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    return OF_WARP(threadIdx.x % 32 < THREADS / 32 ? parts[threadIdx.x % 32] : 0.0f);
}

// Every thread gets the sum over the block. At most once per kernel.
template <int THREADS>
DEVICE float block_sum(float x) {
    return of_block<THREADS, warp_sum>(x);
}

// Every thread gets the largest of the block's numbers, none of which is negative. At most once per kernel.
template <int THREADS>
DEVICE float block_max(float x) {
    return of_block<THREADS, warp_max>(x);
}
