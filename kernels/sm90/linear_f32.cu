// linear_f32: y[r, j] = sum_k x[r, k] w[g n + j, k] (+ b[g n + j]),  g the group of row r
//
//   x       [rows, k] f32, rows x_pitch elements apart, 16-byte aligned, x_pitch % 4 == 0
//   w       [groups * n, k] f32, rows w_pitch elements apart, likewise
//   b       [groups * n] f32, or null
//   y       [rows, n] f32, rows y_pitch elements apart, likewise
//   ends    group offsets [groups] i32: group g owns the rows from ends[g - 1] up to ends[g]
//
// For the embedders and heads, whose GEMMs must be exact to f32. A number is split into three bf16, x = h + m + l, each
// the rounded rest of the one before it: 24 bits. Of the nine products of parts the tensor cores make the six largest;
// the other three are below 2^-26 of the whole. Tensor cores are reported to truncate their sums instead of rounding
// them, which over all of k would cost more than f32 does: so they sum only TILE_K columns.
//
//   the first tile of w to shared memory in parts, that of x to registers
//   for each TILE_K of k:
//       the next tiles of x and w to registers
//       partial = x tile w tile^T: l h + m m + h l + m h + h m + h h
//       the next tile of w to the other half of shared memory, in parts
//       acc += partial; the next tile of x in parts
//   store acc + b
//
//   launch  grid (ceil(n / TILE_N), sum over groups of ceil(rows of the group / TILE_M)), block
//           THREADS, no dynamic shared memory
//   bound   tensor cores: 12 rows n k FLOP at 4096 per SM and clock
//   math    bf16 products summed in f32 over TILE_K columns, the smallest first; these sums in f32
//   error   that of k additions in f32: (k + 8) 2^-24 of the sum of the products' magnitudes. Numbers
//           beyond 3.38e38, which bf16 rounds to infinity, make what is not a number

#include "common.cuh"
#include "wgmma_gen.cuh"

constexpr int TILE_M = 128;
constexpr int TILE_N = 64;    // divides 192 and 64, the widths of the heads
constexpr int TILE_K = 16;    // of one mma
constexpr int THREADS = 256;  // two warpgroups of 64 rows
constexpr int PARTS = 3;
static_assert(TILE_M * 2 == THREADS && TILE_N * TILE_K == THREADS * 4);

// Parts of tiles of w, rows of 32 bytes with the 32-byte swizzle.
struct alignas(1024) Shared {
    bf16 w[2][PARTS][TILE_N * TILE_K];
};

// Rows of this block: from `first` on, at most up to `end`, where their group ends.
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

// Up to four numbers, zeros behind `count`. What lies behind a row up to a multiple of four is read.
DEVICE float4 load_quad(const float* p, int count) {
    if (count <= 0) return float4{0.0f, 0.0f, 0.0f, 0.0f};
    const float4 quad = *reinterpret_cast<const float4*>(p);
    return float4{quad.x, count > 1 ? quad.y : 0.0f, count > 2 ? quad.z : 0.0f,
                  count > 3 ? quad.w : 0.0f};
}

// Two numbers in bf16, and what is left of them.
DEVICE uint32_t split(float& a, float& b) {
    const uint32_t pair = pack_bf16(a, b);
    a -= bits_to_float(pair << 16);
    b -= bits_to_float(pair & 0xffff0000);
    return pair;
}

// Of the sixteen columns of an operand, lane t of four has 2t, 2t + 1, 2t + 8 and 2t + 9. The order of columns does not
// matter where it is the same for x and w: these are columns 4t to 4t + 3 of memory, one load.

// The tile of x that this thread's rows `first` and `first` + 8 have a share of, columns from `col` on; what lies beyond
// row `end` or column k is zero.
DEVICE void load_x(float4 (&quad)[2], const float* x, int pitch, int first, int end, int col,
                   int k) {
    const int c = col + threadIdx.x % 4 * 4;
    UNROLL
    for (int half = 0; half < 2; ++half) {
        const int row = first + 8 * half;
        quad[half] = load_quad(x + int64_t{row} * pitch + c, row < end ? k - c : 0);
    }
}

// The tile as operand A, in parts.
DEVICE void split_x(uint32_t (&parts)[PARTS][4], float4 (&quad)[2]) {
    UNROLL
    for (auto& part : parts) {
        UNROLL
        for (int half = 0; half < 2; ++half) {
            part[half] = split(quad[half].x, quad[half].y);
            part[2 + half] = split(quad[half].z, quad[half].w);
        }
    }
}

// Four columns of a row of a tile of w, in parts, to where operand B has them.
DEVICE void split_w(bf16 (&parts)[PARTS][TILE_N * TILE_K], float4 quad) {
    const int row = threadIdx.x / 4, turn = row / 4 % 2;
    // The 32-byte swizzle: 16-byte piece p of row r lies at p ^ (r / 4 % 2).
    const int at = row * TILE_K + threadIdx.x % 4 * 2;
    UNROLL
    for (auto& part : parts) {
        *reinterpret_cast<uint32_t*>(part + at + turn * 8) = split(quad.x, quad.y);
        *reinterpret_cast<uint32_t*>(part + at + (turn ^ 1) * 8) = split(quad.z, quad.w);
    }
}

// One warpgroup: starts partial = x w^T, the smallest products first.
DEVICE void multiply(float (&partial)[TILE_N / 2], const uint32_t (&x)[PARTS][4],
                     const bf16 (&w)[PARTS][TILE_N * TILE_K]) {
    constexpr int ORDER[6][2] = {{2, 0}, {1, 1}, {0, 2}, {1, 0}, {0, 1}, {0, 0}};
    constexpr uint32_t GROUP_BYTES = 8 * TILE_K * 2;  // eight rows of a tile
    wgmma_fence();
    UNROLL
    for (int i = 0; i < 6; ++i) {
        const uint64_t part = wgmma_descriptor(w[ORDER[i][1]], 16, GROUP_BYTES, Swizzle::B32);
        wgmma_m64n64k16_bf16(partial, x[ORDER[i][0]], part, i);
    }
    wgmma_commit();
}

// Two neighbours of a row, of which `count` exist.
DEVICE void store_pair(float* y, float a, float b, const float* bias, int count) {
    if (bias && count > 0) a += bias[0];
    if (bias && count > 1) b += bias[1];
    if (count > 1) {
        *reinterpret_cast<float2*>(y) = float2{a, b};
    } else if (count > 0) {
        *y = a;
    }
}

K_KERNEL(THREADS, 2)
linear_f32(float* y, const float* x, const float* w, const float* b, const int* ends, int n, int k,
           int x_pitch, int w_pitch, int y_pitch) {
    K_SMEM(Shared, s);
    const Rows rows = rows_of(ends, blockIdx.y);
    const int col = blockIdx.x * TILE_N, w_rows = n - col;
    const int row = rows.first + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    w += (int64_t{rows.group} * n + col) * w_pitch;

    const int w_row = threadIdx.x / 4, w_col = threadIdx.x % 4 * 4;
    const auto load_w = [&](int at) {
        const int c = at + w_col;
        return load_quad(w + int64_t{w_row} * w_pitch + c, w_row < w_rows ? k - c : 0);
    };

    float4 x_next[2], w_next = load_w(0);
    uint32_t x_parts[PARTS][4];
    float acc[TILE_N / 2] = {}, partial[TILE_N / 2];
    load_x(x_next, x, x_pitch, row, rows.end, 0, k);
    split_x(x_parts, x_next);
    split_w(s.w[0], w_next);
    wgmma_pin(partial);
    for (int at = 0, stage = 0; at < k; at += TILE_K, stage ^= 1) {
        fence_proxy_async();
        __syncthreads();
        load_x(x_next, x, x_pitch, row, rows.end, at + TILE_K, k);
        w_next = load_w(at + TILE_K);
        multiply(partial, x_parts, s.w[stage]);
        split_w(s.w[stage ^ 1], w_next);
        wgmma_wait<0>();
        wgmma_pin(partial);
        UNROLL
        for (int i = 0; i < TILE_N / 2; ++i) acc[i] += partial[i];
        split_x(x_parts, x_next);
    }

    UNROLL
    for (int half = 0; half < 2; ++half) {
        if (row + 8 * half >= rows.end) break;
        float* const line = y + int64_t{row + 8 * half} * y_pitch;
        UNROLL
        for (int j = 0; j < TILE_N / 8; ++j) {
            const int c = col + 8 * j + threadIdx.x % 4 * 2;
            store_pair(line + c, acc[4 * j + 2 * half], acc[4 * j + 2 * half + 1],
                       b ? b + int64_t{rows.group} * n + c : nullptr, n - c);
        }
    }
}
K_EXPORT(linear_f32)
