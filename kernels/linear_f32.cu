// linear_f32: y[r, j] = sum_k x[r, k] w[g n + j, k] (+ b[g n + j]),  g the group of row r
//
//   x       [rows, k] f32, rows x_pitch elements apart, 16-byte aligned, x_pitch % 4 == 0
//   w       [groups * n, k] f32, rows w_pitch elements apart, likewise
//   b       [groups * n] f32, or null
//   y       [rows, n] f32, rows y_pitch elements apart, likewise
//   ends    [groups] i32: group g owns the rows from ends[g - 1] up to ends[g]
//
// For the embedders and heads, whose weights are f32 and whose products must be f32 as well.
//
//   for each TILE_K of k:
//       the next tiles of x and w to registers
//       acc[8 rows, 8 cols] += x tile w tile, from shared memory
//       the next tiles to the other half of shared memory, transposed
//   store acc + b
//
//   launch  grid (ceil(n / TILE_N), sum over groups of ceil(rows of the group / TILE_M)), block
//           THREADS, no dynamic shared memory
//   bound   FFMA: 2 rows n k FLOP at 256 per SM and clock
//   math    f32, k added in ascending order
//   error   that of k additions in f32: (k + 8) 2^-24 of the sum of the products' magnitudes

#include "common.cuh"

constexpr int TILE_M = 128;
constexpr int TILE_N = 64;  // divides 192 and 64, the widths of the heads
constexpr int TILE_K = 16;
constexpr int THREADS = 128;
constexpr int LANES_N = 8;  // threads side by side along n; each has 8 x 8 results
constexpr int QUADS = TILE_K / 4;
constexpr int LOADS_X = TILE_M * QUADS / THREADS;
constexpr int LOADS_W = TILE_N * QUADS / THREADS;
static_assert(TILE_M * TILE_N == THREADS * 64 && TILE_N == 8 * LANES_N);

// Tiles lie transposed, k outermost; four columns more keep rows 16-byte aligned and off each
// other's banks.
struct Shared {
    float x[2][TILE_K][TILE_M + 4];
    float w[2][TILE_K][TILE_N + 4];
};

// Rows that this block makes: from `first` on, at most up to `end`, where their group ends.
struct Rows {
    int group, first, end;
};

// Each group begins with a tile of its own.
DEVICE Rows rows_of(const int* ends, int tile) {
    int start = 0;
    for (int group = 0;; ++group) {
        const int end = ends[group], tiles = (end - start + TILE_M - 1) / TILE_M;
        if (tile < tiles) return Rows{group, start + tile * TILE_M, end};
        tile -= tiles;
        start = end;
    }
}

// Up to four numbers, zeros behind `count`.
DEVICE float4 load_quad(const float* p, int count) {
    if (count >= 4) return *reinterpret_cast<const float4*>(p);
    return float4{count > 0 ? p[0] : 0.0f, count > 1 ? p[1] : 0.0f, count > 2 ? p[2] : 0.0f, 0.0f};
}

// A thread's share of a tile of `ROWS` rows and TILE_K columns on its way to shared memory.
template <int LOADS>
struct Quads {
    float4 quad[LOADS];

    // Columns from `col` on; what lies beyond row `rows` or column k is zero.
    DEVICE void load(const float* from, int pitch, int rows, int col, int k) {
        UNROLL
        for (int i = 0; i < LOADS; ++i) {
            const int at = i * THREADS + threadIdx.x, row = at / QUADS, c = col + at % QUADS * 4;
            quad[i] = load_quad(from + int64_t{row} * pitch + c, row < rows ? k - c : 0);
        }
    }

    template <int PITCH>
    DEVICE void store(float (&to)[TILE_K][PITCH]) const {
        UNROLL
        for (int i = 0; i < LOADS; ++i) {
            const int at = i * THREADS + threadIdx.x, row = at / QUADS, c = at % QUADS * 4;
            to[c][row] = quad[i].x;
            to[c + 1][row] = quad[i].y;
            to[c + 2][row] = quad[i].z;
            to[c + 3][row] = quad[i].w;
        }
    }
};

// Rows 8 * lane_m and the next seven; columns 4 * lane_n and the next three, and the same half a
// tile further.
DEVICE void multiply(const Shared& s, int stage, int lane_m, int lane_n, float (&acc)[8][8]) {
    UNROLL
    for (int k = 0; k < TILE_K; ++k) {
        const Vec8 x = Vec8::load(&s.x[stage][k][8 * lane_m]);
        const float4 low = *reinterpret_cast<const float4*>(&s.w[stage][k][4 * lane_n]);
        const float4 high =
            *reinterpret_cast<const float4*>(&s.w[stage][k][TILE_N / 2 + 4 * lane_n]);
        const float w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        UNROLL
        for (int i = 0; i < 8; ++i) {
            UNROLL
            for (int j = 0; j < 8; ++j) acc[i][j] = fmaf(x.v[i], w[j], acc[i][j]);
        }
    }
}

// Four neighbours of a row, of which `count` exist.
DEVICE void store_quad(float* y, const float* acc, const float* bias, int count) {
    float v[4];
    UNROLL
    for (int j = 0; j < 4; ++j) v[j] = acc[j] + (bias && j < count ? bias[j] : 0.0f);
    if (count >= 4) {
        *reinterpret_cast<float4*>(y) = float4{v[0], v[1], v[2], v[3]};
        return;
    }
    UNROLL
    for (int j = 0; j < 3; ++j) {
        if (j < count) y[j] = v[j];
    }
}

K_KERNEL(THREADS, 3)
linear_f32(float* y, const float* x, const float* w, const float* b, const int* ends, int n, int k,
           int x_pitch, int w_pitch, int y_pitch) {
    K_SMEM(Shared, s);
    const Rows rows = rows_of(ends, blockIdx.y);
    const int col = blockIdx.x * TILE_N;
    const int x_rows = rows.end - rows.first, w_rows = n - col;
    x += int64_t{rows.first} * x_pitch;
    w += (int64_t{rows.group} * n + col) * w_pitch;
    const int lane_m = threadIdx.x / LANES_N, lane_n = threadIdx.x % LANES_N;

    Quads<LOADS_X> x_next;
    Quads<LOADS_W> w_next;
    float acc[8][8] = {};
    for (int at = 0, stage = 0; at < k; at += TILE_K, stage ^= 1) {
        x_next.load(x, x_pitch, x_rows, at, k);
        w_next.load(w, w_pitch, w_rows, at, k);
        if (at > 0) multiply(s, stage ^ 1, lane_m, lane_n, acc);
        x_next.store(s.x[stage]);
        w_next.store(s.w[stage]);
        __syncthreads();
    }
    multiply(s, (k - 1) / TILE_K % 2, lane_m, lane_n, acc);

    UNROLL
    for (int i = 0; i < 8; ++i) {
        const int row = rows.first + 8 * lane_m + i;
        if (row >= rows.end) break;
        UNROLL
        for (int half = 0; half < 2; ++half) {
            const int c = col + half * (TILE_N / 2) + 4 * lane_n;
            store_quad(y + int64_t{row} * y_pitch + c, acc[i] + 4 * half,
                       b ? b + int64_t{rows.group} * n + c : nullptr, n - c);
        }
    }
}
K_EXPORT(linear_f32)
