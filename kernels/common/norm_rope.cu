// norm_rope: n = x[r, h, :] / rms(x[r, h, :]) * (1 + w[e, :]),  rms(v) = sqrt(mean(v^2) + eps),
// and then for l < HALF
//   y[r, h, l]        = n[l] cos[r, l] - n[l + HALF] sin[r, l]
//   y[r, h, l + HALF] = n[l + HALF] cos[r, l] + n[l] sin[r, l]
// and y = n in the lanes from 2 HALF on.
//
//   x       [rows, heads, HEAD] bf16, rows x_pitch elements apart, 16-byte aligned,
//           x_pitch % 8 == 0
//   y       [rows, heads, HEAD] bf16, rows y_pitch elements apart, likewise
//   w       [experts, HEAD] f32, 16-byte aligned
//   table   [rows, 2 HALF] f32, contiguous, 16-byte aligned: HALF sines, then HALF cosines
//   ends    group offsets [experts] i32: expert e owns the rows from ends[e - 1] up to ends[e]; the last is at
//           least `rows`
//
// Eight threads share a head, each with two chunks of eight columns. Six of them hold the chunks c
// and c + 6, which are rotated into each other, so the rotation needs no exchange; the other two
// hold the columns that are not rotated.
//
//   launch  grid (ceil(rows * heads / HEADS_PER_BLOCK)), block THREADS, no dynamic shared memory
//   bound   HBM: 4 * rows * heads * HEAD bytes; w and the table's row stay in L1 and L2
//   math    f32 throughout, one rounding at the store
//   error   within 1 bf16 ulp of rms_norm and rope in src/cpu, or of the larger of the two turned
//           into each other

#include "common.cuh"

constexpr int THREADS = 256;
constexpr int HEAD = 128;
constexpr int HALF = 48;          // angles of a row
constexpr int SHARING = 8;        // threads of a head
constexpr int TURNED = HALF / 8;  // those of them whose chunks are turned
constexpr int HEADS_PER_BLOCK = THREADS / SHARING;
static_assert(HEAD == SHARING * 2 * Vec8::SIZE && HALF % Vec8::SIZE == 0 && TURNED < SHARING);

// The sum over the eight threads of a head.
DEVICE float head_sum(float x) {
    UNROLL
    for (int lane = SHARING / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(ALL_LANES, x, lane);
    return x;
}

// Rotates (a, b) by the angles of `table`, whose sines begin at column `col`.
DEVICE void turn(Vec8& a, Vec8& b, const float* table, int col) {
    const Vec8 sine = Vec8::load(table + col), cosine = Vec8::load(table + HALF + col);
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        const float x = a.v[k], y = b.v[k];
        a.v[k] = x * cosine.v[k] - y * sine.v[k];
        b.v[k] = y * cosine.v[k] + x * sine.v[k];
    }
}

K_KERNEL(THREADS, 1)
norm_rope_bf16(bf16* y, const bf16* x, const float* w, const float* table, const int* ends,
               int rows, int heads, int x_pitch, int y_pitch, float eps) {
    const int run = blockIdx.x * HEADS_PER_BLOCK + threadIdx.x / SHARING;
    const int lane = threadIdx.x % SHARING;
    // Threads behind the end go along on the last head, since all lanes must come to the sum.
    const bool exists = run < rows * heads;
    const int row = exists ? run / heads : rows - 1;
    const int start = (exists ? run % heads : heads - 1) * HEAD;
    const bool is_turned = lane < TURNED;
    // Chunks l and l + 6 of the first twelve; 12 and 14, 13 and 15 of the rest.
    const int first = (is_turned ? lane : lane + TURNED) * Vec8::SIZE;
    const int second = first + (is_turned ? HALF : 2 * Vec8::SIZE);
    x += int64_t{row} * x_pitch + start;
    y += int64_t{row} * y_pitch + start;
    w += group_of(ends, row) * HEAD;
    table += int64_t{row} * (2 * HALF);

    Vec8 a = Vec8::load(x + first), b = Vec8::load(x + second);
    float sum_sq = 0.0f;
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) sum_sq += a.v[k] * a.v[k] + b.v[k] * b.v[k];
    const float scale = rsqrtf(head_sum(sum_sq) / HEAD + eps);

    const Vec8 gain_a = Vec8::load(w + first), gain_b = Vec8::load(w + second);
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        a.v[k] *= scale * (1.0f + gain_a.v[k]);
        b.v[k] *= scale * (1.0f + gain_b.v[k]);
    }
    if (is_turned) turn(a, b, table, first);
    if (exists) {
        a.store(y + first);
        b.store(y + second);
    }
}
K_EXPORT(norm_rope_bf16)
