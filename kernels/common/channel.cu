// snake:  y[r, c] = x[r, c] + sin(exp(alpha[c]) x[r, c])^2 / (exp(beta[c]) + 1e-9)
// affine: y[r, c] = x[r, c] a[c] + b[c]
//
//   x       [rows, cols] f32, for affine also bf16, rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   y       [rows, cols] f32, for affine also bf16, rows y_pitch elements apart, likewise; may be x
//   alpha, beta, a, b   [cols] f32, 16-byte aligned, 8 ceil(cols / 8) elements of memory
//   cols    any; rows * ceil(cols / 8) < 2^31
//
// One thread per eight columns. The name of an affine map ends in the types of x and y.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: the sizes of x and y
//   math    f32, one rounding at the store
//   error   snake: sin^2 within 2^-22 of that of its f32 argument; affine: none but the rounding of the result

#include "common.cuh"

constexpr int THREADS = 256;

// sin(x)^2, within 2^-22 for |x| up to 2^20.
DEVICE float squared_sine(float x) {
    constexpr float INV_PI = 0.318309873f;
    constexpr float PI[] = {3.14159274f, -8.74227766e-08f, -3.43024902e-15f};  // their sum
    const float turns = rintf(x * INV_PI);
    float r = x;
    UNROLL
    for (const float part : PI) r = fmaf(-turns, part, r);
    // Taylor's series to r^11: the next term is 6e-8 at pi / 2.
    constexpr float TERMS[] = {2.75573192e-06f, -1.98412698e-04f, 8.33333333e-03f, -1.66666667e-01f};
    const float square = r * r;
    float series = -2.50521084e-08f;
    UNROLL
    for (const float term : TERMS) series = fmaf(series, square, term);
    const float sine = fmaf(r * square, series, r);
    return sine * sine;
}

K_KERNEL(THREADS, 1)
snake_f32(float* y, const float* x, const float* alpha, const float* beta, int rows, int cols,
          int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(x + at.in(x_pitch));
    const Vec8 a = Vec8::load(alpha + at.col), b = Vec8::load(beta + at.col);
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        const float swing = squared_sine(expf(a.v[k]) * value.v[k]);
        value.v[k] += swing / (expf(b.v[k]) + 1e-9f);
    }
    value.store(y + at.in(y_pitch), at.count);
}
K_EXPORT(snake_f32)

template <class Out, class In>
DEVICE void affine(Out* y, const In* x, const float* a, const float* b, int rows, int cols,
                   int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    Vec8 value = Vec8::load(x + at.in(x_pitch));
    const Vec8 factor = Vec8::load(a + at.col), shift = Vec8::load(b + at.col);
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        value.v[k] = fmaf(value.v[k], factor.v[k], shift.v[k]);
    }
    value.store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 8, affine_f32_f32, affine<float, float>)
K_INSTANTIATE(THREADS, 1, 8, affine_f32_bf16, affine<bf16, float>)
K_INSTANTIATE(THREADS, 1, 8, affine_bf16_f32, affine<float, bf16>)
K_INSTANTIATE(THREADS, 1, 8, affine_bf16_bf16, affine<bf16, bf16>)
