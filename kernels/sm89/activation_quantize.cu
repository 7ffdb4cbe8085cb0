// swiglu7_e4m3: y[r, j] = e4m3(f bf16(swiglu7(u[r, 2j], u[r, 2j + 1])))
// gelu7_e4m3:   y = e4m3(f bf16(gelu7(u)))                               (see activation.cu)
//
//   u       [rows, cols] bf16, for swiglu7 [rows, 2 cols], rows u_pitch elements apart, 16-byte aligned, u_pitch % 8 == 0
//   y       [rows, cols] e4m3, rows y_pitch elements apart, 8-byte aligned, y_pitch % 8 == 0
//   f       `factor`
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns of y.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: 3 * rows * cols bytes, swiglu7 5
//   math    f32, rounded to bf16 and, times f, to e4m3, which saturates
//   error   that of the bf16 of activation.cu, bit for bit

#include "activation.cuh"

constexpr int THREADS = 256;

template <Vec8 (*LOAD)(const bf16*, const Chunk&, int)>
DEVICE void quantized_map(e4m3* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch,
                          float factor) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = LOAD(u, at, u_pitch);
    // What it would be had it been stored in bf16 first.
    UNROLL
    for (float& v : value.v) v = to_float(to_bf16(v)) * factor;
    value.store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 7, swiglu7_e4m3, quantized_map<load_swiglu7>)
K_INSTANTIATE(THREADS, 1, 7, gelu7_e4m3, quantized_map<load_mapped<gelu7>>)
