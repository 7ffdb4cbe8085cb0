// l2_norm: y[r, c] = x[r, c] sqrt(cols) / max(|x[r, :]|, eps) w[c]
//
//   x       [rows, cols], rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   w       [cols], elements w_step apart
//   y       [rows, cols], rows y_pitch elements apart, likewise; may be x
//   cols    any
//
// A warp has a row and reads it twice, the second time from L1. The name ends in the type of all three.
//
//   launch  grid (ceil(rows / ROWS)), block THREADS, no dynamic shared memory
//   bound   HBM: the sizes of x and y
//   math    f32, one rounding at the store
//   error   bf16: within 1 ulp of src/cpu/norm.rs

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / 32;
constexpr int STEP = 32 * Vec8::SIZE;  // columns of a warp at a time

template <class T>
DEVICE void l2_norm(T* y, const T* x, const T* w, int rows, int cols, int w_step, int x_pitch,
                    int y_pitch, float eps) {
    const int row = blockIdx.x * ROWS + threadIdx.x / 32;
    if (row >= rows) return;  // whole warps
    const int first = threadIdx.x % 32 * Vec8::SIZE;
    x += int64_t{row} * x_pitch;
    y += int64_t{row} * y_pitch;

    float sum_sq = 0.0f;
    for (int col = first; col < cols; col += STEP) {
        const Vec8 value = Vec8::load(x + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) {
            if (col + k < cols) sum_sq = fmaf(value.v[k], value.v[k], sum_sq);
        }
    }
    const float scale = sqrtf(static_cast<float>(cols)) / fmaxf(sqrtf(warp_sum(sum_sq)), eps);
    for (int col = first; col < cols; col += STEP) {
        const int count = cols - col < Vec8::SIZE ? cols - col : Vec8::SIZE;
        Vec8 value = Vec8::load(x + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) {
            if (k < count) value.v[k] *= scale * to_float(w[int64_t{col + k} * w_step]);
        }
        value.store(y + col, count);
    }
}

K_INSTANTIATE(THREADS, 1, 9, l2_norm_bf16, l2_norm<bf16>)
K_INSTANTIATE(THREADS, 1, 9, l2_norm_f32, l2_norm<float>)
