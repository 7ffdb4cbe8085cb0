// patchify:   y[token, 4c + 2dy + dx] = x[c, position]
// unpatchify: y[c, position] = x[token, (2dy + dx) channels + c]
// where position = (t height + 2i + dy) width + 2j + dx is a pixel of
// token = (t height / 2 + i) width / 2 + j.
//
//   tokens  [frames * height / 2 * width / 2, 4 channels] f32: y of patchify, x of unpatchify
//   latent  [channels, frames * height * width] f32: x of patchify, y of unpatchify
//   rows x_pitch and y_pitch elements apart, multiples of 8; both buffers 16-byte aligned; height
//   and width even; channels at most MAX_CHANNELS
//
// A block moves TOKENS tokens through shared memory. On the latent's side neighbouring threads take
// neighbouring tokens, two pixels each; on the tokens' side they take neighbouring columns, four
// each.
//
//   launch  grid (ceil(tokens / TOKENS)), block THREADS, no dynamic shared memory
//   bound   HBM: 8 * tokens * 4 channels bytes
//   math    none
//   error   none

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int TOKENS = 32;  // one per lane
constexpr int MAX_CHANNELS = 48;
constexpr int STRIDE = 4 * MAX_CHANNELS + 1;  // odd: the same column of 32 tokens lies in 32 banks
static_assert(TOKENS == 32);

// First pixel of `token`: dy = dx = 0.
DEVICE int64_t position_of(int token, int height, int width) {
    const int per_row = width / 2, per_frame = height / 2 * per_row;
    const int frame = token / per_frame, i = token % per_frame / per_row, j = token % per_row;
    return (int64_t{frame} * height + 2 * i) * width + 2 * j;
}

K_KERNEL(THREADS, 1)
patchify_f32(float* y, const float* x, int channels, int frames, int height, int width, int x_pitch,
             int y_pitch) {
    K_SMEM(float[TOKENS][STRIDE], tile);
    const int first = blockIdx.x * TOKENS;
    const int left = frames * (height / 2) * (width / 2) - first;
    const int count = left < TOKENS ? left : TOKENS;
    const int lane = threadIdx.x % TOKENS;
    if (lane < count) {
        x += position_of(first + lane, height, width);
        for (int line = threadIdx.x / TOKENS; line < 2 * channels; line += THREADS / TOKENS) {
            const float* from = x + int64_t{line / 2} * x_pitch + line % 2 * width;
            const float2 pair = *reinterpret_cast<const float2*>(from);
            tile[lane][2 * line] = pair.x;
            tile[lane][2 * line + 1] = pair.y;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count * channels; i += THREADS) {
        const int token = i / channels, col = i % channels * 4;
        const float* from = &tile[token][col];
        *reinterpret_cast<float4*>(y + int64_t{first + token} * y_pitch + col) =
            float4{from[0], from[1], from[2], from[3]};
    }
}
K_EXPORT(patchify_f32)

K_KERNEL(THREADS, 1)
unpatchify_f32(float* y, const float* x, int channels, int frames, int height, int width,
               int x_pitch, int y_pitch) {
    K_SMEM(float[TOKENS][STRIDE], tile);
    const int first = blockIdx.x * TOKENS;
    const int left = frames * (height / 2) * (width / 2) - first;
    const int count = left < TOKENS ? left : TOKENS;
    for (int i = threadIdx.x; i < count * channels; i += THREADS) {
        const int token = i / channels, col = i % channels * 4;
        const float4 from =
            *reinterpret_cast<const float4*>(x + int64_t{first + token} * x_pitch + col);
        float* to = &tile[token][col];
        to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
    }
    __syncthreads();
    const int lane = threadIdx.x % TOKENS;
    if (lane >= count) return;
    y += position_of(first + lane, height, width);
    for (int line = threadIdx.x / TOKENS; line < 2 * channels; line += THREADS / TOKENS) {
        const int channel = line / 2, dy = line % 2;
        const float* from = &tile[lane][2 * dy * channels + channel];
        *reinterpret_cast<float2*>(y + int64_t{channel} * y_pitch + dy * width) =
            float2{from[0], from[channels]};
    }
}
K_EXPORT(unpatchify_f32)
