// rms_norm: y[r, h, :] = x[r, h, :] / rms(x[r, h, :]) * (1 + w[e, :])
//           rms(v) = sqrt(mean(v^2) + eps)
// rms_norm_quantize: y as above in bf16, which is not stored; s[r] = max |y[r, :]| / 448, 1 for a row
//           of zeros; q[r, :] = e4m3(y[r, :] (1 / s[r]))
//
//   x       [rows, runs, cols] bf16 or f32, rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   y       [rows, runs, cols] bf16 or f32, rows y_pitch elements apart, likewise
//   q       [rows, cols] e4m3, rows q_pitch elements apart, 8-byte aligned, q_pitch % 8 == 0
//   s       [rows] f32, s_pitch elements apart
//   w       [experts, cols] f32 or bf16, 16-byte aligned, or null for zeros;
//           rms_norm_quantize: f32, not null
//   ends    [experts] i32: expert e owns the rows from ends[e - 1] up to ends[e]; the last is at least `rows`
//   cols    a multiple of 8, at most ROW_COLS or, in the heads kernels, HEAD_COLS
//   runs    how many times a row is cut: 1 for a whole row, as rms_norm_quantize has it, the number of heads for q and k
//
// A run is read once into registers, reduced, and written once: by a block in the rows kernels
// and rms_norm_quantize, by a warp in the heads kernels, whose runs are too short for a block.
//
// The name ends in the types of x and, unless it is quantised, y; y is bf16 where it is not named. A third type is that of w, f32 where it is
// not named.
//
//   launch  grid (rows * runs) for rows and rms_norm_quantize, (ceil(rows * runs / 8)) for heads; block THREADS
//   bound   HBM: (size of y or q + size of x) * rows * runs * cols bytes; w stays in L2
//   math    f32 throughout, one rounding at the store; s and q as in quantize.cu
//   error   within 1 bf16 ulp of the f64 reference in src/cpu/norm.rs; a f32 y within 24 * 2^-24 of
//           each value; s and q are those of y, bit for bit

#include "quantize.cuh"

constexpr int THREADS = 256;
constexpr int CHUNKS = 3;                                // vectors of 8 that a thread holds
constexpr int ROW_COLS = CHUNKS * THREADS * Vec8::SIZE;  // 6144 covers 5120
constexpr int HEAD_COLS = CHUNKS * 32 * Vec8::SIZE;

// The sum over the threads that share a run: a warp or the block.
template <int SHARING>
DEVICE float run_sum(float x) {
    static_assert(SHARING == 32 || SHARING == THREADS);
    if constexpr (SHARING == 32) return warp_sum(x);
    return block_sum<SHARING>(x);
}

// A run from memory, normalised, as this thread's share of it: x begins with the run, w with its gains or is null.
template <int SHARING, class In, class W>
DEVICE void norm_run(Vec8 (&chunk)[CHUNKS], const In* x, const W* w, int lane, int cols,
                     float eps) {
    __builtin_assume(cols <= (SHARING == 32 ? HEAD_COLS : ROW_COLS));  // the launcher checks
    float sum_sq = 0.0f;
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * SHARING + lane) * Vec8::SIZE;
        if (col >= cols) break;
        chunk[i] = Vec8::load(x + col);
        UNROLL
        for (float v : chunk[i].v) sum_sq += v * v;
    }

    const float scale = rsqrtf(run_sum<SHARING>(sum_sq) / cols + eps);

    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * SHARING + lane) * Vec8::SIZE;
        if (col >= cols) break;
        Vec8 gain{};
        if (w) gain = Vec8::load(w + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) chunk[i].v[k] *= scale * (1.0f + gain.v[k]);
    }
}

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

K_KERNEL(THREADS, 1)
rms_norm_rows_bf16(bf16* y, const bf16* x, const float* w, const int* ends, int rows, int runs,
                   int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<THREADS>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_rows_bf16)

K_KERNEL(THREADS, 1)
rms_norm_rows_f32(bf16* y, const float* x, const float* w, const int* ends, int rows, int runs,
                  int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<THREADS>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_rows_f32)

K_KERNEL(THREADS, 1)
rms_norm_heads_bf16(bf16* y, const bf16* x, const float* w, const int* ends, int rows, int runs,
                    int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<32>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_heads_bf16)

K_KERNEL(THREADS, 1)
rms_norm_heads_f32(bf16* y, const float* x, const float* w, const int* ends, int rows, int runs,
                   int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<32>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_heads_f32)

K_KERNEL(THREADS, 1)
rms_norm_rows_bf16_f32(float* y, const bf16* x, const float* w, const int* ends, int rows, int runs,
                       int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<THREADS>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_rows_bf16_f32)

K_KERNEL(THREADS, 1)
rms_norm_rows_f32_f32(float* y, const float* x, const float* w, const int* ends, int rows, int runs,
                      int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<THREADS>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_rows_f32_f32)

K_KERNEL(THREADS, 1)
rms_norm_heads_bf16_f32(float* y, const bf16* x, const float* w, const int* ends, int rows,
                        int runs, int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<32>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_heads_bf16_f32)

K_KERNEL(THREADS, 1)
rms_norm_rows_bf16_bf16_bf16(bf16* y, const bf16* x, const bf16* w, const int* ends, int rows,
                             int runs, int cols, int x_pitch, int y_pitch, float eps) {
    rms_norm<THREADS>(y, x, w, ends, rows, runs, cols, x_pitch, y_pitch, eps);
}
K_EXPORT(rms_norm_rows_bf16_bf16_bf16)

K_KERNEL(THREADS, 1)
rms_norm_quantize_bf16(e4m3* q, float* s, const bf16* x, const float* w, const int* ends, int cols,
                       int x_pitch, int q_pitch, int s_pitch, float eps) {
    rms_norm_quantize(q, s, x, w, ends, cols, x_pitch, q_pitch, s_pitch, eps);
}
K_EXPORT(rms_norm_quantize_bf16)

K_KERNEL(THREADS, 1)
rms_norm_quantize_f32(e4m3* q, float* s, const float* x, const float* w, const int* ends, int cols,
                      int x_pitch, int q_pitch, int s_pitch, float eps) {
    rms_norm_quantize(q, s, x, w, ends, cols, x_pitch, q_pitch, s_pitch, eps);
}
K_EXPORT(rms_norm_quantize_f32)
