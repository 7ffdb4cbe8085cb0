// embed: y[r, :] = scale w[ids[r], :]
//
//   y       [rows, cols] bf16 or f32, rows y_pitch elements apart, 16-byte aligned,
//           y_pitch % 8 == 0
//   ids     [rows] i32, each a row of w
//   w       [vocabulary, cols] bf16, rows w_pitch elements apart, 16-byte aligned,
//           w_pitch % 8 == 0
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns of y. The name ends in the type of y.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: (2 + size of y) * rows * cols bytes
//   math    f32, one rounding at the store
//   error   none against src/cpu/embed.rs

#include "common.cuh"

constexpr int THREADS = 256;

template <class Out>
DEVICE void embed(Out* y, const int* ids, const bf16* w, int rows, int cols, int w_pitch,
                  int y_pitch, float scale) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(w + int64_t{ids[at.row]} * w_pitch + at.col);
    UNROLL
    for (float& v : value.v) v *= scale;
    value.store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 8, embed_bf16, embed<bf16>)
K_INSTANTIATE(THREADS, 1, 8, embed_f32, embed<float>)
