// conv3d:           y[t, h, w, o] = b[o] + sum over i and taps (k, l, m) of
//                   X(st t + k - bt, sh h + l - bh, sw w + m - bw, i) w[o, i, k, l, m],
//                   where X is x, zero beyond its edges; with `replicate` its first and last frame are repeated
// conv1d:           y[n, o] = b[o] + sum x[stride n + dilation k - padding, i] w[o, i, k]
// conv_transpose1d: y[n, o] = b[o] + sum x[m, i] w[i, o, k] over n = stride m + k - stride / 2, 2 stride taps
//
//   x       [frames, height, width, inputs], or [samples, inputs], rows x_pitch elements apart, 16-byte aligned,
//           x_pitch % 8 == 0
//   w       [outputs, inputs, taps...], for conv_transpose1d [inputs, outputs, taps], the runs along its last axis
//           w_pitch elements apart
//   b       [outputs], or null
//   y       [out_frames, out_height, out_width, outputs], or [out_samples, outputs], rows y_pitch elements apart,
//           likewise
//
// The name ends in the type of all four. An implicit GEMM in plain FMAs: for small convolutions of the model, and as
// the reference of faster kernels.
//
//   for each TILE_K channels, for each tap:
//       the inputs of the tap, TILE_M positions, and its weights, TILE_N outputs, to shared memory
//       acc[8 positions, 4 outputs] += x tile w tile
//   store acc + b
//
// Outputs of a transposed convolution whose n + stride / 2 leave the same remainder k are a convolution of two taps, k
// and k + stride.
//
//   launch  grid (ceil(positions / TILE_M), ceil(outputs / TILE_N)), block THREADS, no dynamic shared memory;
//           positions are those of y, for conv_transpose1d samples + 1, times `stride` blocks along z
//   bound   FFMA: 2 positions outputs inputs taps FLOP at 256 per SM and clock; half of that is what loads leave
//   math    f32, one rounding at the store
//   error   that of inputs * taps additions in f32

#include "common.cuh"
#include "params.h"

constexpr int THREADS = 128;
constexpr int TILE_M = 64;
constexpr int TILE_N = 64;
constexpr int TILE_K = 32;
constexpr int LANES = 16;  // threads side by side along outputs; each has 8 x 4 results
constexpr int SPLITS = THREADS / TILE_M;  // threads that load a position
constexpr int LOADS_X = TILE_K / SPLITS / Vec8::SIZE;
constexpr int LOADS_W = TILE_N * TILE_K / THREADS;
static_assert(TILE_M * TILE_N == THREADS * 32 && TILE_N == 4 * LANES);

// Tiles lie transposed, channels outermost; four columns more keep rows 16-byte aligned and off each other's banks.
struct Shared {
    float x[TILE_K][TILE_M + 4];
    float w[TILE_K][TILE_N + 4];
};

constexpr int64_t NOTHING = -1;  // the row of x that a tap in the padding sees

// A convolution says, for one position: which row of x a tap sees, where the weight of a tap lies, and which row of y
// the position is.

struct Over3d {
    int frames, height, width;
    int t, h, w;  // what the first tap sees
    int kernel_h, kernel_w, taps, inputs, w_pitch;
    bool replicate;

    DEVICE int64_t row(int tap) const {
        int frame = t + tap / kernel_w / kernel_h;
        if (replicate) frame = frame < 0 ? 0 : frame < frames ? frame : frames - 1;
        const int i = h + tap / kernel_w % kernel_h, j = w + tap % kernel_w;
        if (frame < 0 || frame >= frames || i < 0 || i >= height || j < 0 || j >= width) {
            return NOTHING;
        }
        return (int64_t{frame} * height + i) * width + j;
    }

    DEVICE int64_t weight(int out, int in, int tap) const {
        const int64_t run = (int64_t{out} * inputs + in) * (taps / kernel_w) + tap / kernel_w;
        return run * w_pitch + tap % kernel_w;
    }

    DEVICE int64_t y_row(int position) const { return position; }
};

struct Over1d {
    int samples, first, dilation, taps, inputs, w_pitch;

    DEVICE int64_t row(int tap) const {
        const int at = first + tap * dilation;
        return at >= 0 && at < samples ? at : NOTHING;
    }

    DEVICE int64_t weight(int out, int in, int tap) const {
        return (int64_t{out} * inputs + in) * w_pitch + tap;
    }

    DEVICE int64_t y_row(int position) const { return position; }
};

struct Transposed1d {
    int samples, position, stride, phase, outputs, w_pitch;
    static constexpr int taps = 2;

    DEVICE int64_t row(int tap) const {
        const int at = position - tap;
        return at >= 0 && at < samples ? at : NOTHING;
    }

    DEVICE int64_t weight(int out, int in, int tap) const {
        return (int64_t{in} * outputs + out) * w_pitch + phase + tap * stride;
    }

    DEVICE int64_t y_row(int at) const {
        const int64_t n = int64_t{at} * stride + phase - stride / 2;
        return n >= 0 && n < int64_t{samples} * stride ? n : NOTHING;
    }
};

// Up to eight channels of a row of x, zeros behind the last and for no row.
template <class T>
DEVICE Vec8 load_channels(const T* x, int64_t row, int pitch, int col, int cols) {
    Vec8 values{};
    if (row == NOTHING || col >= cols) return values;
    values = Vec8::load(x + row * pitch + col);
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        if (col + k >= cols) values.v[k] = 0.0f;
    }
    return values;
}

DEVICE void multiply(const Shared& s, int lane_m, int lane_n, float (&acc)[8][4]) {
    UNROLL
    for (int k = 0; k < TILE_K; ++k) {
        const Vec8 x = Vec8::load(&s.x[k][8 * lane_m]);
        const float4 w = *reinterpret_cast<const float4*>(&s.w[k][4 * lane_n]);
        const float ws[4] = {w.x, w.y, w.z, w.w};
        UNROLL
        for (int i = 0; i < 8; ++i) {
            UNROLL
            for (int j = 0; j < 4; ++j) acc[i][j] += x.v[i] * ws[j];
        }
    }
}

// The position whose rows of x this thread loads.
DEVICE int loaded_position() { return blockIdx.x * TILE_M + threadIdx.x / SPLITS; }

// `conv` is for `loaded_position()`.
template <class T, class Conv>
DEVICE void convolve(T* y, const T* x, const T* w, const T* b, const Conv& conv, int positions,
                     int inputs, int outputs, int x_pitch, int y_pitch) {
    K_SMEM(Shared, s);
    const int col = blockIdx.y * TILE_N;
    const bool exists = loaded_position() < positions;
    const int m = threadIdx.x / SPLITS, split = threadIdx.x % SPLITS;
    const int lane_m = threadIdx.x / LANES, lane_n = threadIdx.x % LANES;

    float acc[8][4] = {};
    for (int in = 0; in < inputs; in += TILE_K) {
        for (int tap = 0; tap < conv.taps; ++tap) {
            const int64_t row = exists ? conv.row(tap) : NOTHING;
            UNROLL
            for (int i = 0; i < LOADS_X; ++i) {
                const int first = (split * LOADS_X + i) * Vec8::SIZE;
                const Vec8 values = load_channels(x, row, x_pitch, in + first, inputs);
                UNROLL
                for (int k = 0; k < Vec8::SIZE; ++k) s.x[first + k][m] = values.v[k];
            }
            UNROLL
            for (int i = 0; i < LOADS_W; ++i) {
                const int at = i * THREADS + threadIdx.x, k = at % TILE_K, n = at / TILE_K;
                const bool there = in + k < inputs && col + n < outputs;
                s.w[k][n] = there ? to_float(w[conv.weight(col + n, in + k, tap)]) : 0.0f;
            }
            __syncthreads();
            multiply(s, lane_m, lane_n, acc);
            __syncthreads();
        }
    }

    UNROLL
    for (int i = 0; i < 8; ++i) {
        const int position = blockIdx.x * TILE_M + 8 * lane_m + i;
        const int64_t row = position < positions ? conv.y_row(position) : NOTHING;
        UNROLL
        for (int j = 0; j < 4; ++j) {
            const int out = col + 4 * lane_n + j;
            if (row == NOTHING || out >= outputs) continue;
            const float bias = b ? to_float(b[out]) : 0.0f;
            Vec8::store_one(y + row * y_pitch + out, acc[i][j] + bias);
        }
    }
}

template <class T>
DEVICE void conv3d(T* y, const T* x, const T* w, const T* b, ConvShape c, int x_pitch, int w_pitch,
                   int y_pitch) {
    const int position = loaded_position();
    const int t = position / c.out_size.w / c.out_size.h;
    const int i = position / c.out_size.w % c.out_size.h, j = position % c.out_size.w;
    const Over3d conv{c.size.t,
                      c.size.h,
                      c.size.w,
                      t * c.stride.t - c.before.t,
                      i * c.stride.h - c.before.h,
                      j * c.stride.w - c.before.w,
                      c.kernel.h,
                      c.kernel.w,
                      c.kernel.t * c.kernel.h * c.kernel.w,
                      c.inputs,
                      w_pitch,
                      c.replicate != 0};
    convolve(y, x, w, b, conv, c.out_size.t * c.out_size.h * c.out_size.w, c.inputs, c.outputs,
             x_pitch, y_pitch);
}

K_INSTANTIATE(THREADS, 3, 8, conv3d_bf16, conv3d<bf16>)
K_INSTANTIATE(THREADS, 3, 8, conv3d_f32, conv3d<float>)

K_KERNEL(THREADS, 3)
conv1d_f32(float* y, const float* x, const float* w, const float* b, Conv1dShape c, int x_pitch,
           int w_pitch, int y_pitch) {
    const int first = loaded_position() * c.stride - c.padding;
    const Over1d conv{c.samples, first, c.dilation, c.taps, c.inputs, w_pitch};
    convolve(y, x, w, b, conv, c.out_samples, c.inputs, c.outputs, x_pitch, y_pitch);
}
K_EXPORT(conv1d_f32)

K_KERNEL(THREADS, 3)
conv_transpose1d_f32(float* y, const float* x, const float* w, const float* b, Conv1dShape c,
                     int x_pitch, int w_pitch, int y_pitch) {
    const int phase = blockIdx.z;
    const Transposed1d conv{c.samples, loaded_position(), c.stride, phase, c.outputs, w_pitch};
    convolve(y, x, w, b, conv, c.samples + 1, c.inputs, c.outputs, x_pitch, y_pitch);
}
K_EXPORT(conv_transpose1d_f32)
