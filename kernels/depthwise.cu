// depthwise: y[t, h, w, c] = b[c] + sum over taps (k, l, m) of
//            X(st t + k - bt, sh h + l - bh, sw w + m - bw, c) v[c, k, l, m],
//            where X is x, zero beyond its edges; with `replicate` its first and last frame go on for ever
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

constexpr int THREADS = 256;

// Whether `at` is inside an axis of `extent` positions.
DEVICE bool inside(int at, int extent) { return at >= 0 && at < extent; }

template <class T>
DEVICE void depthwise(T* y, const T* x, const T* v, const T* b, int frames, int height, int width,
                      int channels, int out_frames, int out_height, int out_width, int kernel_t,
                      int kernel_h, int kernel_w, int stride_t, int stride_h, int stride_w,
                      int before_t, int before_h, int before_w, int replicate, int x_pitch,
                      int v_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(channels);
    if (at.row >= out_frames * out_height * out_width) return;
    const int t = at.row / out_width / out_height * stride_t - before_t;
    const int i = at.row / out_width % out_height * stride_h - before_h;
    const int j = at.row % out_width * stride_w - before_w;
    Vec8 sum = Vec8::load(b + at.col);
    for (int run = 0; run < kernel_t * kernel_h; ++run) {
        int frame = t + run / kernel_h;
        const int line = i + run % kernel_h;
        if (replicate) frame = frame < 0 ? 0 : frame < frames ? frame : frames - 1;
        if (!inside(frame, frames) || !inside(line, height)) continue;
        for (int tap = 0; tap < kernel_w; ++tap) {
            if (!inside(j + tap, width)) continue;
            const int64_t row = (int64_t{frame} * height + line) * width + j + tap;
            const Vec8 values = Vec8::load(x + row * x_pitch + at.col);
            UNROLL
            for (int k = 0; k < Vec8::SIZE; ++k) {
                if (k >= at.count) break;
                const int64_t from = int64_t{at.col + k} * kernel_t * kernel_h + run;
                sum.v[k] = fmaf(values.v[k], to_float(v[from * v_pitch + tap]), sum.v[k]);
            }
        }
    }
    sum.store(y + at.in(y_pitch), at.count);
}

K_KERNEL(THREADS, 1)
depthwise_bf16(bf16* y, const bf16* x, const bf16* v, const bf16* b, int frames, int height,
               int width, int channels, int out_frames, int out_height, int out_width, int kernel_t,
               int kernel_h, int kernel_w, int stride_t, int stride_h, int stride_w, int before_t,
               int before_h, int before_w, int replicate, int x_pitch, int v_pitch, int y_pitch) {
    depthwise(y, x, v, b, frames, height, width, channels, out_frames, out_height, out_width,
              kernel_t, kernel_h, kernel_w, stride_t, stride_h, stride_w, before_t, before_h,
              before_w, replicate, x_pitch, v_pitch, y_pitch);
}
K_EXPORT(depthwise_bf16)

K_KERNEL(THREADS, 1)
depthwise_f32(float* y, const float* x, const float* v, const float* b, int frames, int height,
              int width, int channels, int out_frames, int out_height, int out_width, int kernel_t,
              int kernel_h, int kernel_w, int stride_t, int stride_h, int stride_w, int before_t,
              int before_h, int before_w, int replicate, int x_pitch, int v_pitch, int y_pitch) {
    depthwise(y, x, v, b, frames, height, width, channels, out_frames, out_height, out_width,
              kernel_t, kernel_h, kernel_w, stride_t, stride_h, stride_w, before_t, before_h,
              before_w, replicate, x_pitch, v_pitch, y_pitch);
}
K_EXPORT(depthwise_f32)
