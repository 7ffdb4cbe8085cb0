// rms_norm: y[r, h, :] = x[r, h, :] / rms(x[r, h, :]) * (1 + w[e, :])
//           rms(v) = sqrt(mean(v^2) + eps)
//
//   x       [rows, runs, cols] bf16 or f32, rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   y       [rows, runs, cols] bf16 or f32, rows y_pitch elements apart, likewise
//   w       norm weight [experts, cols] f32 or bf16, 16-byte aligned, or null for zeros
//   ends    group offsets [experts] i32: expert e owns rows ends[e - 1] up to ends[e]; the last is at least `rows`
//   cols    a multiple of 8, at most ROW_COLS or, in the heads kernels, HEAD_COLS
//   runs    heads in a row, of cols each: 1 for a whole row
//
// A head is read once into registers, reduced, and written once: by a block in the rows kernels, by a warp in the heads
// kernels, whose heads are too short for a block.
//
// The name ends in the types of x and y; y is bf16 where it is not named. A third type is that of w, f32 where it is
// not named.
//
//   launch  grid (rows * runs) for rows, (ceil(rows * runs / 8)) for heads; block THREADS
//   bound   HBM: (size of y + size of x) * rows * runs * cols bytes; w stays in L2
//   math    f32 throughout, one rounding at the store
//   error   within 1 bf16 ulp of the f64 reference in src/cpu/norm.rs; a f32 y within 24 * 2^-24 of
//           each value

#include "norm.cuh"

template <int SHARING, class Out, class In, class W>
DEVICE void rms_norm(Out* y, const In* x, const W* w, const int* ends, int rows, int runs, int cols,
                     int x_pitch, int y_pitch, float eps) {
    const int run = static_cast<int>((int64_t{blockIdx.x} * THREADS + threadIdx.x) / SHARING);
    const int lane = threadIdx.x % SHARING;
    const int row = run / runs, start = run % runs * cols;
    if (row >= rows) return;  // whole warps, and never in the rows kernels
    if (w) w += int64_t{group_of(ends, row)} * cols;
    Vec8 chunk[CHUNKS];
    norm_run<SHARING>(chunk, x + int64_t{row} * x_pitch + start, w, lane, cols, eps);
    y += int64_t{row} * y_pitch + start;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * SHARING + lane) * Vec8::SIZE;
        if (col >= cols) break;
        chunk[i].store(y + col);
    }
}

K_INSTANTIATE(THREADS, 1, 10, rms_norm_rows_bf16, rms_norm<THREADS, bf16, bf16, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_rows_f32, rms_norm<THREADS, bf16, float, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_heads_bf16, rms_norm<32, bf16, bf16, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_heads_f32, rms_norm<32, bf16, float, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_rows_bf16_f32, rms_norm<THREADS, float, bf16, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_rows_f32_f32, rms_norm<THREADS, float, float, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_heads_bf16_f32, rms_norm<32, float, bf16, float>)
K_INSTANTIATE(THREADS, 1, 10, rms_norm_rows_bf16_bf16_bf16, rms_norm<THREADS, bf16, bf16, bf16>)
