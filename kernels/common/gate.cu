// sigmoid_gate: y[r, h, :] = x[r, h, :] / (1 + exp(-gate[r, h]))
//
//   x       [rows, heads, head] bf16, rows x_pitch elements apart, 16-byte aligned,
//           x_pitch % 8 == 0
//   y       [rows, heads, head] bf16, rows y_pitch elements apart, likewise; may be x
//   gate    [rows, heads] bf16, rows gate_pitch elements apart
//   cols    heads * head; head a multiple of 8; rows * cols / 8 < 2^31
//
// One thread per eight columns of y.
//
//   launch  grid (ceil(rows * cols / 8 / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: 4 * rows * cols bytes
//   math    f32, one rounding at the store
//   error   within 1 bf16 ulp of sigmoid_gate in src/cpu/activation.rs

#include "common.cuh"

constexpr int THREADS = 256;

K_KERNEL(THREADS, 1)
sigmoid_gate_bf16(bf16* y, const bf16* x, const bf16* gate, int rows, int cols, int head,
                  int x_pitch, int gate_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(x + at.in(x_pitch));
    const float factor = sigmoid(to_float(gate[int64_t{at.row} * gate_pitch + at.col / head]));
    UNROLL
    for (float& v : value.v) v *= factor;
    value.store(y + at.in(y_pitch));
}
K_EXPORT(sigmoid_gate_bf16)
