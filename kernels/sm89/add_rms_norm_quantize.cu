// add_rms_norm_quantize: s[r, :] = x[r, :] + z[r, :];  scales[r] = max |y[r, :]| / 448, 1 for a row of zeros;
//               q[r, :] = e4m3(y[r, :] (1 / scales[r])), where y[r, :] = s[r, :] / rms(s[r, :]) * (1 + w[e, :]) in
//               bf16, which is not stored; see add_rms_norm.cu
//
//   x, s    [rows, cols] f32, rows `pitch` elements apart, 16-byte aligned, pitch % 8 == 0; s may be x
//   z       [rows, cols] bf16 or f32, likewise
//   q       [rows, cols] e4m3, rows q_pitch elements apart, 8-byte aligned, q_pitch % 8 == 0
//   scales  [rows] f32, scale_pitch elements apart
//   w       [experts, cols] f32, 16-byte aligned
//   ends    group offsets [experts] i32: expert e owns the rows from ends[e - 1] up to ends[e]; the last is at least the rows
//   cols    a multiple of 8, at most ROW_COLS
//
// One block per row, which stays in registers from the sum to the store. The name ends in the type of z.
//
//   launch  grid (rows), block THREADS, no dynamic shared memory
//   bound   HBM: (9 + size of z) * rows * cols bytes; w stays in L2
//   math    f32 throughout; s is the f32 sum, scales and q as in quantize.cu
//   error   s as src/cpu/elementwise.rs; scales and q are those of add_rms_norm.cu's y, bit for bit

#include "norm.cuh"
#include "params.h"
#include "quantize.cuh"

template <class Z>
DEVICE void add_rms_norm_quantize(e4m3* q, float* scales, float* s, const float* x, const Z* z,
                                  const float* w, const int* ends, QuantizedNorm shape) {
    const auto [cols, pitch, q_pitch, scale_pitch, eps] = shape;
    const int64_t row = blockIdx.x, start = row * pitch;
    w += int64_t{group_of(ends, blockIdx.x)} * cols;
    Vec8 chunk[CHUNKS];
    add_norm(chunk, s + start, x + start, z + start, w, cols, eps);
    round_row<THREADS>(chunk, cols);
    quantize_row<THREADS>(q + row * q_pitch, scales + row * scale_pitch, chunk, cols);
}

K_INSTANTIATE(THREADS, 1, 8, add_rms_norm_quantize_bf16, add_rms_norm_quantize<bf16>)
K_INSTANTIATE(THREADS, 1, 8, add_rms_norm_quantize_f32, add_rms_norm_quantize<float>)
