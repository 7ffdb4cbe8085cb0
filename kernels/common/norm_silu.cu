// rms_silu: y[r, c] = silu(n),  n = bf16(x[r, c] / sqrt(mean(x[r, :]^2) + eps))
// rms_relu: y[r, c] = max(n, 0)
// l2_silu:  y[r, c] = silu(n),  n = bf16(x[r, c] sqrt(cols) / max(|x[r, :]|, eps) w[c])
//
//   x       [rows, cols] bf16, rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   w       [cols] bf16, elements w_step apart
//   y       [rows, cols] bf16, rows y_pitch elements apart, likewise; may be x
//   cols    a multiple of 8, at most COLS
//   lanes   a power of two up to 32 with cols <= CHUNKS * lanes * 8: so many lanes share a row
//
// For the convolutions of a video. Rows are read once into registers, and short ones share a warp.
//
//   launch  grid (ceil(rows * lanes / THREADS)), block THREADS, no dynamic shared memory; rows * lanes < 2^31 - THREADS
//   bound   HBM: 4 * rows * cols bytes
//   math    f32, rounded to bf16 behind the norm and at the store
//   error   within 1 bf16 ulp of src/cpu/norm.rs and then of src/cpu/activation.rs

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int CHUNKS = 4;  // vectors of 8 that a lane holds
constexpr int COLS = CHUNKS * 32 * Vec8::SIZE;

DEVICE float silu(float u) {
    return u * sigmoid(u);
}

DEVICE float relu(float u) {
    return fmaxf(u, 0.0f);
}

// `scale` is of the row, from its sum of squares, and `gain` is the norm weight of the column.
template <float (*ACTIVATION)(float), class Scale, class Gain>
DEVICE void norm_map(bf16* y, const bf16* x, int rows, int cols, int lanes, int x_pitch,
                     int y_pitch, Scale scale, Gain gain) {
    __builtin_assume(cols <= COLS);  // the launcher checks
    const int thread = blockIdx.x * THREADS + threadIdx.x;
    const int row = thread / lanes, first = thread % lanes * Vec8::SIZE;
    // Lanes without a row come to the sum with nothing.
    const int end = row < rows ? cols : 0;
    x += int64_t{row} * x_pitch;
    y += int64_t{row} * y_pitch;

    Vec8 chunk[CHUNKS];
    float sum_sq = 0.0f;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = first + i * lanes * Vec8::SIZE;
        if (col >= end) break;
        chunk[i] = Vec8::load(x + col);
        UNROLL
        for (float v : chunk[i].v) sum_sq = fmaf(v, v, sum_sq);
    }
    for (int lane = lanes / 2; lane > 0; lane /= 2) {
        sum_sq += __shfl_xor_sync(ALL_LANES, sum_sq, lane);
    }
    const float factor = scale(sum_sq);

    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = first + i * lanes * Vec8::SIZE;
        if (col >= end) break;
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) {
            float& v = chunk[i].v[k];
            v = ACTIVATION(to_float(to_bf16(v * (factor * gain(col + k)))));
        }
        chunk[i].store(y + col);
    }
}

template <float (*ACTIVATION)(float)>
DEVICE void rms_map(bf16* y, const bf16* x, int rows, int cols, int lanes, int x_pitch, int y_pitch,
                    float eps) {
    norm_map<ACTIVATION>(
        y, x, rows, cols, lanes, x_pitch, y_pitch,
        [&](float sum_sq) { return rsqrtf(sum_sq / static_cast<float>(cols) + eps); },
        [](int) { return 1.0f; });
}

K_INSTANTIATE(THREADS, 1, 8, rms_silu_bf16, rms_map<silu>)
K_INSTANTIATE(THREADS, 1, 8, rms_relu_bf16, rms_map<relu>)

K_KERNEL(THREADS, 1)
l2_silu_bf16(bf16* y, const bf16* x, const bf16* w, int rows, int cols, int lanes, int w_step,
             int x_pitch, int y_pitch, float eps) {
    norm_map<silu>(
        y, x, rows, cols, lanes, x_pitch, y_pitch,
        [&](float sum_sq) {
            return sqrtf(static_cast<float>(cols)) / fmaxf(sqrtf(sum_sq), eps);
        },
        [&](int col) { return to_float(w[int64_t{col} * w_step]); });
}
K_EXPORT(l2_silu_bf16)
