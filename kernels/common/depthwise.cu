// depthwise: y[t, h, w, c] = b[c] + sum over taps (k, l, m) of
//            X(st t + k - bt, sh h + l - bh, sw w + m - bw, c) v[c, k, l, m],
//            where X is x, zero beyond its edges; with `replicate` its first and last frame are repeated
//
//   x       [frames, height, width, channels], rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   v       [channels, 1, kernel_t, kernel_h, kernel_w], the runs along its last axis v_pitch elements apart
//   b       [channels], 16-byte aligned, 8 ceil(channels / 8) elements of memory
//   y       [out_frames, out_height, out_width, channels], rows y_pitch elements apart, likewise
//   sizes   out_frames * out_height * out_width * ceil(channels / 8) < 2^31
//
// One thread per eight channels of a position. The name ends in the type of all four.
//
//   launch  grid (ceil(positions * ceil(channels / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   L1: 2 bytes * positions * channels * taps of x, and as much of v
//   math    f32, taps added in their order, one rounding at the store
//   error   that of as many additions in f32 as there are taps

#include "common.cuh"
#include "params.h"

constexpr int THREADS = 256;

// Whether `at` is inside an axis of `extent` positions.
DEVICE bool inside(int at, int extent) { return at >= 0 && at < extent; }

template <class T>
DEVICE void depthwise(T* y, const T* x, const T* v, const T* b, ConvShape c, int x_pitch,
                      int v_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(c.inputs);
    if (at.row >= c.out_size.t * c.out_size.h * c.out_size.w) return;
    const int t = at.row / c.out_size.w / c.out_size.h * c.stride.t - c.before.t;
    const int i = at.row / c.out_size.w % c.out_size.h * c.stride.h - c.before.h;
    const int j = at.row % c.out_size.w * c.stride.w - c.before.w;
    Vec8 sum = Vec8::load(b + at.col);
    for (int run = 0; run < c.kernel.t * c.kernel.h; ++run) {
        int frame = t + run / c.kernel.h;
        const int line = i + run % c.kernel.h;
        if (c.replicate) frame = frame < 0 ? 0 : frame < c.size.t ? frame : c.size.t - 1;
        if (!inside(frame, c.size.t) || !inside(line, c.size.h)) continue;
        for (int tap = 0; tap < c.kernel.w; ++tap) {
            if (!inside(j + tap, c.size.w)) continue;
            const int64_t row = (int64_t{frame} * c.size.h + line) * c.size.w + j + tap;
            const Vec8 values = Vec8::load(x + row * x_pitch + at.col);
            UNROLL
            for (int k = 0; k < Vec8::SIZE; ++k) {
                if (k >= at.count) break;
                const int64_t from = int64_t{at.col + k} * c.kernel.t * c.kernel.h + run;
                sum.v[k] = fmaf(values.v[k], to_float(v[from * v_pitch + tap]), sum.v[k]);
            }
        }
    }
    sum.store(y + at.in(y_pitch), at.count);
}

K_INSTANTIATE(THREADS, 1, 8, depthwise_bf16, depthwise<bf16>)
K_INSTANTIATE(THREADS, 1, 8, depthwise_f32, depthwise<float>)
