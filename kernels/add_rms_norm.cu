// add_rms_norm: s[r, :] = x[r, :] + z[r, :],  y[r, :] = s[r, :] / rms(s[r, :]) * (1 + w[e, :]),
//               rms(v) = sqrt(mean(v^2) + eps)
// add_rms_norm_quantize: s and y as above, y in bf16 and not stored; scales[r] = max |y[r, :]| / 448, 1 for
//               a row of zeros; q[r, :] = e4m3(y[r, :] (1 / scales[r]))
//
//   x, s    [rows, cols] f32, rows `pitch` elements apart, 16-byte aligned, pitch % 8 == 0;
//           s may be x
//   z       [rows, cols] bf16 or f32, likewise
//   y       [rows, cols] bf16, likewise
//   q       [rows, cols] e4m3, rows q_pitch elements apart, 8-byte aligned, q_pitch % 8 == 0
//   scales  [rows] f32, scale_pitch elements apart
//   w       [experts, cols] f32, 16-byte aligned
//   ends    [experts] i32: expert e owns the rows from ends[e - 1] up to ends[e]; the last is at
//           least the rows
//   cols    a multiple of 8, at most ROW_COLS
//
// One block per row, which stays in registers between the sum, the reduction and the norm. The name
// ends in the type of z.
//
//   launch  grid (rows), block THREADS, no dynamic shared memory
//   bound   HBM: (8 + size of y or q + size of z) * rows * cols bytes; w stays in L2
//   math    f32 throughout; s is the f32 sum, y is rounded once; scales and q as in quantize.cu
//   error   s as src/cpu/elementwise.rs; y within 1 bf16 ulp of src/cpu/norm.rs; scales and q are those
//           of y, bit for bit

#include "quantize.cuh"

constexpr int THREADS = 256;
// Vectors of 8 that a thread holds; 6144 columns cover 5120.
constexpr int CHUNKS = 3;
constexpr int ROW_COLS = CHUNKS * THREADS * Vec8::SIZE;

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

template <class Z>
DEVICE void add_rms_norm_quantize(e4m3* q, float* scales, float* s, const float* x, const Z* z,
                                  const float* w, const int* ends, int cols, int pitch, int q_pitch,
                                  int scale_pitch, float eps) {
    const int64_t row = blockIdx.x, start = row * pitch;
    w += int64_t{group_of(ends, blockIdx.x)} * cols;
    Vec8 chunk[CHUNKS];
    add_norm(chunk, s + start, x + start, z + start, w, cols, eps);
    round_row<THREADS>(chunk, cols);
    quantize_row<THREADS>(q + row * q_pitch, scales + row * scale_pitch, chunk, cols);
}

K_KERNEL(THREADS, 1)
add_rms_norm_bf16(bf16* y, float* s, const float* x, const bf16* z, const float* w, const int* ends,
                  int cols, int pitch, float eps) {
    add_rms_norm(y, s, x, z, w, ends, cols, pitch, eps);
}
K_EXPORT(add_rms_norm_bf16)

K_KERNEL(THREADS, 1)
add_rms_norm_f32(bf16* y, float* s, const float* x, const float* z, const float* w, const int* ends,
                 int cols, int pitch, float eps) {
    add_rms_norm(y, s, x, z, w, ends, cols, pitch, eps);
}
K_EXPORT(add_rms_norm_f32)

K_KERNEL(THREADS, 1)
add_rms_norm_quantize_bf16(e4m3* q, float* scales, float* s, const float* x, const bf16* z,
                           const float* w, const int* ends, int cols, int pitch, int q_pitch,
                           int scale_pitch, float eps) {
    add_rms_norm_quantize(q, scales, s, x, z, w, ends, cols, pitch, q_pitch, scale_pitch, eps);
}
K_EXPORT(add_rms_norm_quantize_bf16)

K_KERNEL(THREADS, 1)
add_rms_norm_quantize_f32(e4m3* q, float* scales, float* s, const float* x, const float* z,
                          const float* w, const int* ends, int cols, int pitch, int q_pitch,
                          int scale_pitch, float eps) {
    add_rms_norm_quantize(q, scales, s, x, z, w, ends, cols, pitch, q_pitch, scale_pitch, eps);
}
K_EXPORT(add_rms_norm_quantize_f32)
