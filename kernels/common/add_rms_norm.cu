// add_rms_norm: s[r, :] = x[r, :] + z[r, :],  y[r, :] = s[r, :] / rms(s[r, :]) * (1 + w[e, :]),
//               rms(v) = sqrt(mean(v^2) + eps)
//
//   x, s    [rows, cols] f32, rows `pitch` elements apart, 16-byte aligned, pitch % 8 == 0;
//           s may be x
//   z       [rows, cols] bf16 or f32, likewise
//   y       [rows, cols] bf16, likewise
//   w       [experts, cols] f32, 16-byte aligned
//   ends    group offsets [experts] i32: expert e owns the rows from ends[e - 1] up to ends[e]; the last is at
//           least the rows
//   cols    a multiple of 8, at most ROW_COLS
//
// One block per row, which stays in registers between the sum, the reduction and the norm. The name
// ends in the type of z.
//
//   launch  grid (rows), block THREADS, no dynamic shared memory
//   bound   HBM: (8 + size of y + size of z) * rows * cols bytes; w stays in L2
//   math    f32 throughout; s is the f32 sum, y is rounded once
//   error   s as src/cpu/elementwise.rs; y within 1 bf16 ulp of src/cpu/norm.rs

#include "norm.cuh"

template <class Z>
DEVICE void add_rms_norm(bf16* y, float* s, const float* x, const Z* z, const float* w,
                         const int* ends, int cols, int pitch, float eps) {
    const int64_t start = int64_t{blockIdx.x} * pitch;
    w += int64_t{group_of(ends, blockIdx.x)} * cols;
    Vec8 chunk[CHUNKS];
    add_norm(chunk, s + start, x + start, z + start, w, cols, eps);
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * THREADS + threadIdx.x) * Vec8::SIZE;
        if (col >= cols) break;
        chunk[i].store(y + start + col);
    }
}

K_INSTANTIATE(THREADS, 1, 9, add_rms_norm_bf16, add_rms_norm<bf16>)
K_INSTANTIATE(THREADS, 1, 9, add_rms_norm_f32, add_rms_norm<float>)
