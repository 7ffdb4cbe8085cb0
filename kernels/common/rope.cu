// rope: for l < half
//   y[r, h, l]        = x[r, h, l] cos[r, l] - x[r, h, l + half] sin[r, l]
//   y[r, h, l + half] = x[r, h, l + half] cos[r, l] + x[r, h, l] sin[r, l]
// and y = x in the lanes from 2 half on.
//
//   x       [rows, heads, head] f32 or bf16, rows x_pitch elements apart, 16-byte aligned,
//           x_pitch % 8 == 0
//   y       [rows, heads, head] bf16, rows y_pitch elements apart, likewise; not x
//   table   [rows, 2 half] f32 or bf16, rows table_pitch elements apart, likewise: half sines, then half cosines
//   head    a multiple of 8, at least 2 half; half a multiple of 8; rows * heads * head / 8 < 2^31
//
// The name ends in the type of x, and that of the table where it is not f32.
//
// One thread per eight columns of y. The two columns of a rotation lie `half` columns apart; each is read twice, the
// second time from L1 or L2.
//
//   launch  grid (ceil(rows * heads * head / 8 / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: (2 + size of x) * rows * heads * head bytes; the table's row stays in L1 and L2
//   math    f32, one rounding at the store
//   error   within 1 bf16 ulp of src/cpu/rope.rs, or of the larger of the two turned into each
//           other

#include "common.cuh"

constexpr int THREADS = 256;

template <class In, class Table>
DEVICE void rope(bf16* y, const In* x, const Table* table, int rows, int heads, int head, int half,
                 int x_pitch, int y_pitch, int table_pitch) {
    const Chunk at = Chunk::of_thread(heads * head);
    if (at.row >= rows) return;
    const int lane = at.col % head;
    x += at.in(x_pitch);
    Vec8 value = Vec8::load(x);
    if (lane < 2 * half) {
        const bool is_first = lane < half;
        const Vec8 other = Vec8::load(is_first ? x + half : x - half);
        const Table* angles = table + int64_t{at.row} * table_pitch + lane % half;
        const Vec8 sine = Vec8::load(angles), cosine = Vec8::load(angles + half);
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) {
            const float turned = other.v[k] * sine.v[k];
            value.v[k] = value.v[k] * cosine.v[k] + (is_first ? -turned : turned);
        }
    }
    value.store(y + at.in(y_pitch));
}

K_INSTANTIATE(THREADS, 1, 10, rope_f32, rope<float, float>)
K_INSTANTIATE(THREADS, 1, 10, rope_bf16, rope<bf16, float>)
K_INSTANTIATE(THREADS, 1, 10, rope_bf16_bf16, rope<bf16, bf16>)
