// swiglu7:   y[r, j] = a sigma(1.702 a) (b + 1),
//            a = min(u[r, 2j], 7),  b = clamp(u[r, 2j + 1], -7, 7)
// gelu7:     y = a sigma(1.702 a),  a = min(u, 7)
// gelu_tanh: y = u / 2 (1 + tanh(t)) = u sigma(2 t),  t = sqrt(2 / pi) (u + 0.044715 u^3)
// silu:      y = u sigma(u)
// relu:      y = max(u, 0)
// clamp:     y = min(max(u, low), high)
// mul:       y = u z
// with sigma(v) = 1 / (1 + exp(-v)). activation_quantize.cu has the same in e4m3.
//
//   u       [rows, cols] bf16, for swiglu7 [rows, 2 cols], rows u_pitch elements apart, 16-byte
//           aligned, u_pitch % 8 == 0
//   z       [rows, cols] bf16, rows z_pitch elements apart, likewise
//   y       [rows, cols] bf16, rows y_pitch elements apart, likewise; it may be u or z, but not for swiglu7
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns of y.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: 4 * rows * cols bytes, swiglu7 and mul 6
//   math    f32, one rounding at the store
//   error   within 1 bf16 ulp of src/cpu/activation.rs

#include "activation.cuh"

constexpr int THREADS = 256;

DEVICE float gelu_tanh(float u) {
    constexpr float TWICE_SQRT_2_OVER_PI = 1.59576912f;
    return u * sigmoid(TWICE_SQRT_2_OVER_PI * (u + 0.044715f * u * u * u));
}

DEVICE float silu(float u) {
    return u * sigmoid(u);
}

DEVICE float relu(float u) {
    return fmaxf(u, 0.0f);
}

template <Vec8 (*LOAD)(const bf16*, const Chunk&, int)>
DEVICE void map(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    LOAD(u, at, u_pitch).store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 6, swiglu7_bf16, map<load_swiglu7>)
K_INSTANTIATE(THREADS, 1, 6, gelu7_bf16, map<load_mapped<gelu7>>)
K_INSTANTIATE(THREADS, 1, 6, gelu_tanh_bf16, map<load_mapped<gelu_tanh>>)
K_INSTANTIATE(THREADS, 1, 6, silu_bf16, map<load_mapped<silu>>)
K_INSTANTIATE(THREADS, 1, 6, relu_bf16, map<load_mapped<relu>>)

K_KERNEL(THREADS, 1)
clamp_bf16(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch, float low,
           float high) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(u + at.in(u_pitch));
    UNROLL
    for (float& v : value.v) v = fminf(fmaxf(v, low), high);
    value.store(y + at.in(y_pitch), at.count);
}
K_EXPORT(clamp_bf16)

K_KERNEL(THREADS, 1)
mul_bf16(bf16* y, const bf16* u, const bf16* z, int rows, int cols, int u_pitch, int z_pitch,
         int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(u + at.in(u_pitch));
    const Vec8 other = Vec8::load(z + at.in(z_pitch));
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) value.v[k] *= other.v[k];
    value.store(y + at.in(y_pitch), at.count);
}
K_EXPORT(mul_bf16)
