// rms_norm_quantize: s[r] = max |y[r, :]| / 448, 1 for a row of zeros; q[r, :] = e4m3(y[r, :] (1 / s[r])), where
//           y[r, :] = x[r, :] / rms(x[r, :]) * (1 + w[e, :]) in bf16, which is not stored; see rms_norm.cu
//
//   x       [rows, cols] bf16 or f32, rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   q       [rows, cols] e4m3, rows q_pitch elements apart, 8-byte aligned, q_pitch % 8 == 0
//   s       [rows] f32, s_pitch elements apart
//   w       [experts, cols] f32, 16-byte aligned
//   ends    group offsets [experts] i32: expert e owns the rows from ends[e - 1] up to ends[e]; the last is at least the rows
//   cols    a multiple of 8, at most ROW_COLS
//
// One block per row, which is read once into registers. The name ends in the type of x.
//
//   launch  grid (rows), block THREADS
//   bound   HBM: (1 + size of x) * rows * cols bytes; w stays in L2
//   math    f32 throughout; s and q as in quantize.cu
//   error   s and q are those of rms_norm.cu's y, bit for bit

#include "norm.cuh"
#include "quantize.cuh"

template <class In>
DEVICE void rms_norm_quantize(e4m3* q, float* s, const In* x, const float* w, const int* ends,
                              int cols, int x_pitch, int q_pitch, int s_pitch, float eps) {
    const int row = blockIdx.x;
    w += int64_t{group_of(ends, row)} * cols;
    Vec8 chunk[CHUNKS];
    norm_run<THREADS>(chunk, x + int64_t{row} * x_pitch, w, threadIdx.x, cols, eps);
    round_row<THREADS>(chunk, cols);
    quantize_row<THREADS>(q + int64_t{row} * q_pitch, s + int64_t{row} * s_pitch, chunk, cols);
}

K_INSTANTIATE(THREADS, 1, 10, rms_norm_quantize_bf16, rms_norm_quantize<bf16>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_quantize_f32, rms_norm_quantize<float>)
