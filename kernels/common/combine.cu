// combine: y[r, :] = sum_i c[i, g] x_i[r, :],  g = r / share
// add:     y = x + z
//
//   c       [inputs, groups] f32, rows 8 ceil(groups / 8) elements apart
//   x_i     [groups * share, cols] f32, rows `pitch` elements apart, 16-byte aligned,
//           pitch % 8 == 0; null from the first that there is not. Where its factor is zero it is
//           not read.
//   x, z    [rows, cols] f32 or bf16, rows x_pitch and z_pitch elements apart, likewise
//   y       [rows, cols], rows `pitch` or y_pitch elements apart, likewise; may be any of the
//           inputs. f32, but the sum of two bf16 is bf16
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns of y. The name of a sum ends in the types of x and z.
//
//   launch  combine: grid (ceil(share * ceil(cols / 8) / THREADS), groups)
//           add: grid (ceil(rows * ceil(cols / 8) / THREADS))
//           block THREADS, no dynamic shared memory
//   bound   HBM: combine 4 (inputs + 1) * rows * cols bytes; add the sizes of x, y and z
//   math    f32, inputs added in their order
//   error   as src/cpu/elementwise.rs, but a product and its addition are rounded once

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int INPUTS = 5;  // what the longest update of a latent reads

K_KERNEL(THREADS, 1)
combine_f32(float* y, const float* c, const float* x0, const float* x1, const float* x2,
            const float* x3, const float* x4, int share, int cols, int pitch) {
    Chunk at = Chunk::of_thread(cols);
    if (at.row >= share) return;
    const int group = blockIdx.y;
    const int c_pitch = (gridDim.y + Vec8::SIZE - 1) / Vec8::SIZE * Vec8::SIZE;
    at.row += group * share;
    const float* const inputs[INPUTS] = {x0, x1, x2, x3, x4};
    Vec8 sum{};
    UNROLL
    for (int i = 0; i < INPUTS; ++i) {
        if (!inputs[i]) break;
        const float factor = c[i * c_pitch + group];
        if (factor == 0.0f) continue;
        const Vec8 x = Vec8::load(inputs[i] + at.in(pitch));
        UNROLL
        for (int k = 0; k < Vec8::SIZE; ++k) sum.v[k] = fmaf(factor, x.v[k], sum.v[k]);
    }
    sum.store(y + at.in(pitch), at.count);
}
K_EXPORT(combine_f32)

template <class Out, class X, class Z>
DEVICE void add(Out* y, const X* x, const Z* z, int rows, int cols, int x_pitch, int z_pitch,
                int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 sum = Vec8::load(x + at.in(x_pitch));
    const Vec8 other = Vec8::load(z + at.in(z_pitch));
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) sum.v[k] += other.v[k];
    sum.store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 8, add_f32_bf16, add<float, float, bf16>)
K_INSTANTIATE(THREADS, 1, 8, add_f32_f32, add<float, float, float>)
K_INSTANTIATE(THREADS, 1, 8, add_bf16_bf16, add<bf16, bf16, bf16>)
