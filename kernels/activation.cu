// swiglu7:   y[r, j] = a sigma(1.702 a) (b + 1),
//            a = min(u[r, 2j], 7),  b = clamp(u[r, 2j + 1], -7, 7)
// gelu7:     y = a sigma(1.702 a),  a = min(u, 7)
// gelu_tanh: y = u / 2 (1 + tanh(t)) = u sigma(2 t),  t = sqrt(2 / pi) (u + 0.044715 u^3)
// silu:      y = u sigma(u)
// relu:      y = max(u, 0)
// clamp:     y = min(max(u, low), high)
// mul:       y = u z
// with sigma(v) = 1 / (1 + exp(-v)). swiglu7_e4m3 and gelu7_e4m3 have y = e4m3(f v) where v is the above in bf16.
//
//   u       [rows, cols] bf16, for swiglu7 [rows, 2 cols], rows u_pitch elements apart, 16-byte
//           aligned, u_pitch % 8 == 0
//   z       [rows, cols] bf16, rows z_pitch elements apart, likewise
//   y       [rows, cols] bf16 or e4m3, rows y_pitch elements apart, likewise (e4m3: 8-byte aligned);
//           of bf16 it may be u or z, but not for swiglu7
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns of y.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: 4 * rows * cols bytes, swiglu7 and mul 6; one less where y is e4m3
//   math    f32, one rounding at the store; to e4m3 a second one, which saturates
//   error   within 1 bf16 ulp of src/cpu/activation.rs; e4m3 is that of the bf16, bit for bit

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

DEVICE void store(bf16* y, const Vec8& value, int count, float) {
    value.store(y, count);
}

// What it would be had it been stored in bf16 first.
DEVICE void store(e4m3* y, Vec8 value, int count, float factor) {
    UNROLL
    for (float& v : value.v) v = to_float(to_bf16(v)) * factor;
    value.store(y, count);
}

template <float (*F)(float), class Out>
DEVICE void map(Out* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch,
                float factor = 1.0f) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(u + at.in(u_pitch));
    UNROLL
    for (float& v : value.v) v = F(v);
    store(y + at.in(y_pitch), value, at.count, factor);
}

template <class Out>
DEVICE void swiglu7(Out* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch,
                    float factor = 1.0f) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    u += int64_t{at.row} * u_pitch + 2 * at.col;
    // The second half of the pairs; with four columns or less to make, it may lie behind the row.
    const Vec8 low = Vec8::load(u);
    Vec8 high{};
    if (at.count > Vec8::SIZE / 2) high = Vec8::load(u + Vec8::SIZE);
    Vec8 value;
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        const Vec8& pairs = k < Vec8::SIZE / 2 ? low : high;
        value.v[k] = swiglu7(pairs.v[2 * k % Vec8::SIZE], pairs.v[2 * k % Vec8::SIZE + 1]);
    }
    store(y + at.in(y_pitch), value, at.count, factor);
}

K_KERNEL(THREADS, 1)
swiglu7_bf16(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch) {
    swiglu7(y, u, rows, cols, u_pitch, y_pitch);
}
K_EXPORT(swiglu7_bf16)

K_KERNEL(THREADS, 1)
swiglu7_e4m3(e4m3* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch, float factor) {
    swiglu7(y, u, rows, cols, u_pitch, y_pitch, factor);
}
K_EXPORT(swiglu7_e4m3)

K_KERNEL(THREADS, 1)
gelu7_bf16(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch) {
    map<gelu7>(y, u, rows, cols, u_pitch, y_pitch);
}
K_EXPORT(gelu7_bf16)

K_KERNEL(THREADS, 1)
gelu7_e4m3(e4m3* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch, float factor) {
    map<gelu7>(y, u, rows, cols, u_pitch, y_pitch, factor);
}
K_EXPORT(gelu7_e4m3)

K_KERNEL(THREADS, 1)
gelu_tanh_bf16(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch) {
    map<gelu_tanh>(y, u, rows, cols, u_pitch, y_pitch);
}
K_EXPORT(gelu_tanh_bf16)

K_KERNEL(THREADS, 1)
silu_bf16(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch) {
    map<silu>(y, u, rows, cols, u_pitch, y_pitch);
}
K_EXPORT(silu_bf16)

K_KERNEL(THREADS, 1)
relu_bf16(bf16* y, const bf16* u, int rows, int cols, int u_pitch, int y_pitch) {
    map<relu>(y, u, rows, cols, u_pitch, y_pitch);
}
K_EXPORT(relu_bf16)

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
