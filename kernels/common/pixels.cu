// Rearranges pixels, frames and channels of videos [frames, height, width, channels]:
//
// upsample_nearest: y[t, i, j, c] = x[t, i / 2, j / 2, c]
// pixel_shuffle:    y[t, 2i + r, 2j + s, c] = x[t, i, j, 4c + sub(r, s)],  sub(r, s) = row_step r + (3 - row_step) s
// pixel_unshuffle:  y[t, i, j, 4c + sub(r, s)] = x[t, 2i + r, 2j + s, c]
// frame_shuffle:    y[2t + f, i, j, c] = x[t, i, j, f C + c],  C channels of y
// average_down:     y[t, i, j, o] = mean over m in [o g, (o + 1) g) of x[F t + f - missing, S i + r, S j + s, c],
//                   m = ((c F + f) S + r) S + s; zero in front of the first frame
// bytes:            y[t, i, j C + c] = trunc(255 min(max(x[t, i, j, c] / 2 + 1 / 2, 0), 1)), C channels of x
// duplicate_up:     y[F t + f - (F - 1), S i + r, S j + s, o] = x[t, i, j, (((o F + f) S + r) S + s) / g]
//
//   x       rows x_pitch elements apart, 16-byte aligned, x_pitch % 8 == 0
//   y       `rows` rows of `cols` channels, y_pitch elements apart, likewise; height and width are those of y.
//           Of bytes a row is a line of pixels, and rows, cols and width are those of x
//   sizes   rows * ceil(cols / 8) < 2^31
//   F, S    `frames` and `space`; g is `group`, missing = F ceil(T / F) - T for the T frames of x
//   row_step  1 or 2
//
// One thread per eight channels of y, for bytes of x. The name ends in the type of x and y, for bytes of x.
//
//   launch  grid (ceil(rows * ceil(cols / 8) / THREADS)), block THREADS, no dynamic shared memory
//   bound   HBM: the sizes of x and y, once the sectors that neighbours share come from L2
//   math    average_down in f32, m ascending, one rounding at the store; bytes in f32; the others none
//   error   none; average_down that of g additions in f32

#include "common.cuh"
#include "params.h"

constexpr int THREADS = 256;

// Row of y as frame, line and column.
struct Pixel {
    int t, i, j;

    DEVICE static Pixel of(int row, const PixelShape& y) {
        return Pixel{row / y.width / y.height, row / y.width % y.height, row % y.width};
    }

    // The row of this pixel where frames are `height` x `width`.
    DEVICE static int64_t row(int t, int i, int j, int height, int width) {
        return (int64_t{t} * height + i) * width + j;
    }
};

// Fills the channels of a chunk one by one: `element(c)` for channel c.
template <class T, class Element>
DEVICE void fill(T* y, const Chunk& at, int y_pitch, Element element) {
    Vec8 value{};
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        if (k < at.count) value.v[k] = element(at.col + k);
    }
    value.store(y + at.in(y_pitch), at.count);
}

template <class T>
DEVICE void upsample_nearest(T* y, const T* x, PixelShape shape, int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(shape.cols);
    if (at.row >= shape.rows) return;
    const Pixel to = Pixel::of(at.row, shape);
    const int64_t from = Pixel::row(to.t, to.i / 2, to.j / 2, shape.height / 2, shape.width / 2);
    Vec8::load(x + from * x_pitch + at.col).store(y + at.in(y_pitch), at.count);
}

template <class T>
DEVICE void pixel_shuffle(T* y, const T* x, PixelShape shape, int row_step, int x_pitch,
                          int y_pitch) {
    const Chunk at = Chunk::of_thread(shape.cols);
    if (at.row >= shape.rows) return;
    const Pixel to = Pixel::of(at.row, shape);
    x += Pixel::row(to.t, to.i / 2, to.j / 2, shape.height / 2, shape.width / 2) * x_pitch;
    const int sub = row_step * (to.i % 2) + (3 - row_step) * (to.j % 2);
    fill(y, at, y_pitch, [&](int c) { return to_float(x[4 * c + sub]); });
}

template <class T>
DEVICE void pixel_unshuffle(T* y, const T* x, PixelShape shape, int row_step, int x_pitch,
                            int y_pitch) {
    const Chunk at = Chunk::of_thread(shape.cols);
    if (at.row >= shape.rows) return;
    const Pixel to = Pixel::of(at.row, shape);
    fill(y, at, y_pitch, [&](int c) {
        const int r = c / row_step % 2, s = c / (3 - row_step) % 2;
        const int64_t row = Pixel::row(to.t, 2 * to.i + r, 2 * to.j + s, 2 * shape.height, 2 * shape.width);
        return to_float(x[row * x_pitch + c / 4]);
    });
}

template <class T>
DEVICE void frame_shuffle(T* y, const T* x, PixelShape shape, int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(shape.cols);
    if (at.row >= shape.rows) return;
    const Pixel to = Pixel::of(at.row, shape);
    x += Pixel::row(to.t / 2, to.i, to.j, shape.height, shape.width) * x_pitch;
    x += to.t % 2 * shape.cols;
    fill(y, at, y_pitch, [&](int c) { return to_float(x[c]); });
}

template <class T>
DEVICE void average_down(T* y, const T* x, PixelShape shape, int frames, int space, int missing,
                         int group, int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(shape.cols);
    if (at.row >= shape.rows) return;
    const Pixel to = Pixel::of(at.row, shape);
    fill(y, at, y_pitch, [&](int c) {
        float sum = 0.0f;
        for (int m = c * group; m < (c + 1) * group; ++m) {
            const int s = m % space, r = m / space % space, f = m / space / space % frames;
            const int t = frames * to.t + f - missing;
            if (t < 0) continue;
            const int64_t row = Pixel::row(t, space * to.i + r, space * to.j + s,
                                           space * shape.height, space * shape.width);
            sum += to_float(x[row * x_pitch + m / space / space / frames]);
        }
        return sum / group;
    });
}

template <class T>
DEVICE void duplicate_up(T* y, const T* x, PixelShape shape, int frames, int space, int group,
                         int x_pitch, int y_pitch) {
    const Chunk at = Chunk::of_thread(shape.cols);
    if (at.row >= shape.rows) return;
    const Pixel to = Pixel::of(at.row, shape);
    const int t = to.t + frames - 1;
    const int height = shape.height / space, width = shape.width / space;
    x += Pixel::row(t / frames, to.i / space, to.j / space, height, width) * x_pitch;
    const int sub = (t % frames * space + to.i % space) * space + to.j % space;
    fill(y, at, y_pitch,
         [&](int c) { return to_float(x[(c * frames * space * space + sub) / group]); });
}

K_INSTANTIATE(THREADS, 1, 5, upsample_nearest_bf16, upsample_nearest<bf16>)
K_INSTANTIATE(THREADS, 1, 5, upsample_nearest_f32, upsample_nearest<float>)
K_INSTANTIATE(THREADS, 1, 6, pixel_shuffle_bf16, pixel_shuffle<bf16>)
K_INSTANTIATE(THREADS, 1, 6, pixel_shuffle_f32, pixel_shuffle<float>)
K_INSTANTIATE(THREADS, 1, 6, pixel_unshuffle_bf16, pixel_unshuffle<bf16>)
K_INSTANTIATE(THREADS, 1, 6, pixel_unshuffle_f32, pixel_unshuffle<float>)
K_INSTANTIATE(THREADS, 1, 5, frame_shuffle_bf16, frame_shuffle<bf16>)
K_INSTANTIATE(THREADS, 1, 5, frame_shuffle_f32, frame_shuffle<float>)
K_INSTANTIATE(THREADS, 1, 9, average_down_bf16, average_down<bf16>)
K_INSTANTIATE(THREADS, 1, 9, average_down_f32, average_down<float>)
K_INSTANTIATE(THREADS, 1, 8, duplicate_up_bf16, duplicate_up<bf16>)
K_INSTANTIATE(THREADS, 1, 8, duplicate_up_f32, duplicate_up<float>)

K_KERNEL(THREADS, 1)
bytes_bf16(unsigned char* y, const bf16* x, int rows, int cols, int width, int x_pitch,
           int y_pitch) {
    const Chunk at = Chunk::of_thread(cols);
    if (at.row >= rows) return;
    const Vec8 value = Vec8::load(x + at.in(x_pitch));
    y += int64_t{at.row / width} * y_pitch + at.row % width * cols + at.col;
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        // The maximum with what is not a number is zero.
        const float share = fminf(fmaxf(fmaf(0.5f, value.v[k], 0.5f), 0.0f), 1.0f);
        if (k < at.count) y[k] = static_cast<unsigned char>(share * 255.0f);
    }
}
K_EXPORT(bytes_bf16)
