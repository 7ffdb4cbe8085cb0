// row_scale: s[r] = max_k |x[r, k]| / 448, 1 for a row of zeros
// quantize:  q[r, k] = e4m3(x[r, k] (1 / s[r])), or e4m3(x[r, k] f)
//
//   x       [rows, cols] bf16 or f32, rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   q       [rows, cols] e4m3, rows q_pitch elements apart, 8-byte aligned, q_pitch % 8 == 0;
//           row_scale_quantize: or null, to have only the scales
//   s       [rows] f32, s_pitch elements apart; quantize: or null, to multiply by `factor`
//   cols    any; row_scale_quantize: at most ROW_COLS, or WIDE_COLS (row_scale_quantize_wide)
//
// row_scale_quantize has a block for each row, which is read once, stays in registers while its largest number is found,
// and is written once. quantize has a thread for each eight columns. The name ends in the type of x.
//
//   launch  grid (rows) for row_scale_quantize, (ceil(rows * ceil(cols / 8) / THREADS)) for
//           quantize; block THREADS, or WIDE_THREADS for the wide rows
//   bound   HBM: (1 + size of x) * rows * cols bytes
//   math    f32: both quotients by the division of IEEE 754, one multiplication, one rounding to
//           nearest even that saturates at +-448
//   error   none: the bits of src/cpu/quantize.rs

#include "quantize.cuh"

constexpr int THREADS = 256;
constexpr int WIDE_THREADS = 1024;
constexpr int CHUNKS = 3;                                      // vectors of 8 that a thread holds
constexpr int ROW_COLS = CHUNKS * THREADS * Vec8::SIZE;        // 6144 covers 5120
constexpr int WIDE_COLS = CHUNKS * WIDE_THREADS * Vec8::SIZE;  // 24576 covers 20480

template <int SHARING, class In>
DEVICE void row_scale_quantize(e4m3* q, float* s, const In* x, int cols, int x_pitch, int q_pitch,
                               int s_pitch) {
    __builtin_assume(cols <= (SHARING == THREADS ? ROW_COLS : WIDE_COLS));  // the launcher checks
    const int64_t row = blockIdx.x;
    x += row * x_pitch;
    Vec8 chunk[CHUNKS];
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (i * SHARING + threadIdx.x) * Vec8::SIZE;
        if (col >= cols) break;
        chunk[i] = Vec8::load(x + col);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) {
            if (col + k >= cols) chunk[i].v[k] = 0.0f;
        }
    }
    quantize_row<SHARING>(q ? q + row * q_pitch : nullptr, s + row * s_pitch, chunk, cols);
}

template <class In>
DEVICE void quantize(e4m3* q, const In* x, const float* s, int rows, int cols, int x_pitch,
                     int q_pitch, int s_pitch, float factor) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(x + at.in(x_pitch));
    if (s) factor = 1.0f / s[int64_t{at.row} * s_pitch];
    UNROLL
    for (float& v : value.v) v *= factor;
    value.store(q + at.in(q_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 7, row_scale_quantize_bf16, row_scale_quantize<THREADS, bf16>)
K_INSTANTIATE(THREADS, 1, 7, row_scale_quantize_f32, row_scale_quantize<THREADS, float>)
K_INSTANTIATE(WIDE_THREADS, 1, 7, row_scale_quantize_wide_bf16, row_scale_quantize<WIDE_THREADS, bf16>)
K_INSTANTIATE(WIDE_THREADS, 1, 7, row_scale_quantize_wide_f32, row_scale_quantize<WIDE_THREADS, float>)
K_INSTANTIATE(THREADS, 1, 9, quantize_bf16, quantize<bf16>)
K_INSTANTIATE(THREADS, 1, 9, quantize_f32, quantize<float>)
