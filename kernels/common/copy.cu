// copy: y[r, :] = x[r, :], rounded if y is narrower
//
//   x       [rows, cols] f32 or bf16, rows x_pitch elements apart, 16-byte aligned,
//           x_pitch % 8 == 0
//   y       [rows, cols] f32 or bf16, rows y_pitch elements apart, likewise
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns. The name ends in the types of x and y.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: the sizes of x and y
//   math    none; f32 to bf16 rounds to nearest even
//   error   none

#include "common.cuh"

constexpr int THREADS = 256;

template <class Out, class In>
DEVICE void copy(Out* y, const In* x, int rows, int cols, int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8::load(x + at.in(x_pitch)).store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 6, copy_f32_f32, copy<float, float>)
K_INSTANTIATE(THREADS, 1, 6, copy_f32_bf16, copy<bf16, float>)
K_INSTANTIATE(THREADS, 1, 6, copy_bf16_f32, copy<float, bf16>)
K_INSTANTIATE(THREADS, 1, 6, copy_bf16_bf16, copy<bf16, bf16>)
