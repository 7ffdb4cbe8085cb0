// conv3d:  y[t, h, w, o] = b[o] + sum over i and taps (k, l, m) of
//          X(t + k - bt, h + l - bh, w + m - bw, i) w[k, l, m, o, i],
//          where X is x, zero beyond its edges; with `replicate` its first and last frame are repeated
//          With `residual`: bf16(that) + residual[t, h, w, o].
//          With eps >= 0: silu(bf16(v[o] / sqrt(mean(v^2) + eps))), v = bf16(that), the mean over o
// pack:    packed[k, l, m, o, i] = w[o, i, k, l, m], the form that conv3d reads
// doubled: packed[2 p + q, l, m, o, i] = sum of w[o, i, l', m'] over (l' + 1 - p) / 2 = l, (m' + 1 - q) / 2 = m,
//          all of p, q, l, m below 2. The 3x3 taps w on a picture of doubled height and width give at rows 2h + p
//          and columns 2w + q the same as the 2x2 taps packed[2 p + q] on the original picture, with bh = 1 - p
//          and bw = 1 - q
//
//   x         [frames, height, width, inputs] bf16, box TILE_K x TILE_W x (TILE_H + kernel_h - 1) x 1, 128-byte
//             swizzle
//   packed    [taps, outputs, inputs] bf16, box TILE_K x TILE_N x 1, 128-byte swizzle; rows `pitch` elements apart,
//             pitch % 8 == 0; TILE_N is in the name of the entry point
//   y         [out_frames, out_height, out_width, outputs] bf16, box STORE_COLS x TILE_W x STORE_LINES x 1, 128-byte
//             swizzle
//   b         [outputs] bf16, 16-byte aligned; readable up to a multiple of 8
//   residual  as y, positions residual_pitch elements apart, likewise; or null
//   w         [outputs, inputs, runs, run] bf16: a run is the taps of a kernel row, and runs lie WEIGHT_PITCH elements
//             apart
//   eps       negative, or outputs are even and at most TILE_N, and there is no residual
//   kernel_h  at most LINES; without `replicate` every frame of y sees one of x
//
// Any sizes: TMA reads zeros outside of a tensor and writes nothing there. So space is padded by coordinates alone;
// frames are clamped, or taps outside are skipped. All taps of a column of the kernel read the same box of x, whose
// lines lie at multiples of the swizzle's pattern.
//
//   for tile of this block's share: TILE_H x TILE_W positions of a frame, TILE_N outputs
//       producer warp:   for each k, TILE_K of inputs, m: a box of x to a stage of one ring, and
//                            for each l: the weights to a stage of the other
//       two warpgroups:  acc += box, from line l on, weights^T
//                        epilogue of acc + b, and store
//
//   launch  conv3d_*: grid (any, at most one block per SM), block THREADS, dynamic shared memory SMEM_BYTES
//           pack: grid (ceil(outputs * runs * ceil(inputs / 8) / PACK_THREADS)); doubled: the same with one run
//   bound   tensor cores: 2 positions outputs inputs taps FLOP at 4096 per SM and clock; pack: HBM
//   math    bf16 products, f32 sums, one rounding at the store and those of the formulae; sums of `doubled` are rounded
//   error   within twice the rounding of y to bf16

#include "common.cuh"
#include "params.h"
#include "wgmma_gen.cuh"

constexpr int TILE_W = 16;
constexpr int TILE_H = 16;
constexpr int TILE_K = 64;  // 128 bytes, the span of the swizzle
constexpr int LINES = 3;
constexpr int MOST_N = 128;
constexpr int X_STAGES = 3;
constexpr int W_STAGES = 5;
constexpr int CONSUMERS = 2;  // warpgroups of HALVES times 64 positions
constexpr int HALVES = 2;
constexpr int THREADS = 128 * (1 + CONSUMERS);
constexpr int STORE_COLS = 64;  // 128 bytes
constexpr int STORE_LINES = 4;  // of TILE_W positions: what one product makes
constexpr int PRODUCER_REGISTERS = 40;
constexpr int CONSUMER_REGISTERS = 232;
static_assert(128 * (PRODUCER_REGISTERS + CONSUMERS * CONSUMER_REGISTERS) <= block_registers(THREADS));
constexpr int SMEM_BYTES = 225408;  // of 232448
constexpr int PACK_THREADS = 256;
constexpr int WEIGHT_PITCH = 8;

// offset   bytes   what
//      0  110592   x ring, 3 x 36 KB
// 110592   81920   w ring, 5 x 16 KB
// 192512   32768   y, two buffers for each warpgroup
// 225280     128   mbarriers
struct alignas(1024) Shared {
    bf16 x[X_STAGES][(TILE_H + LINES - 1) * TILE_W * TILE_K];
    bf16 w[W_STAGES][MOST_N * TILE_K];
    bf16 y[CONSUMERS][2][64 * STORE_COLS];
    uint64_t x_full[X_STAGES];
    uint64_t x_empty[X_STAGES];
    uint64_t w_full[W_STAGES];
    uint64_t w_empty[W_STAGES];
};
static_assert(offsetof(Shared, w_empty) + sizeof(uint64_t) * W_STAGES == SMEM_BYTES);
static_assert(TILE_H * TILE_W == CONSUMERS * HALVES * 64 && STORE_LINES * TILE_W == 64);
static_assert(TILE_K * 2 == 128 && TILE_W % 8 == 0 && STORE_COLS * 2 == 128);

// Named barriers, one per consumer warpgroup; 0 is __syncthreads.
enum Barrier { STORE = 1 };

struct Tile {
    int t, h, w, out;
};

struct Conv {
    int frames, inputs, outputs, out_height, out_width;
    int kernel_t, kernel_h, kernel_w, before_t, before_h, before_w;
    bool replicate;
    int tiles;  // of all frames

    // Outputs first, then along a line: neighbours in time read the same of x.
    template <int TILE_N>
    DEVICE Tile tile(int index) const {
        const int across = (out_width + TILE_W - 1) / TILE_W;
        const int down = (out_height + TILE_H - 1) / TILE_H;
        const int outs = (outputs + TILE_N - 1) / TILE_N;
        const int place = index / outs;
        return Tile{place / across / down, place / across % down * TILE_H, place % across * TILE_W,
                    index % outs * TILE_N};
    }

    // The kernel's frames that see something at frame t: from here up to `end`.
    DEVICE int start(int t) const { return replicate || t >= before_t ? 0 : before_t - t; }
    DEVICE int end(int t) const {
        const int left = frames + before_t - t;
        return replicate || left > kernel_t ? kernel_t : left;
    }

    DEVICE int frame(int t, int k) const {
        const int frame = t + k - before_t;
        return frame < 0 ? 0 : frame < frames ? frame : frames - 1;
    }
};

// A place in a ring: the stage, and the parity of its present phase.
template <int STAGES>
struct Place {
    int stage = 0;
    uint32_t parity = 0;

    DEVICE void advance() {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }

    DEVICE int before() const { return stage == 0 ? STAGES - 1 : stage - 1; }
};

DEVICE void init_ring(uint64_t* full, uint64_t* empty, int stages) {
    for (int i = 0; i < stages; ++i) {
        mbarrier_init(&full[i], 1);
        mbarrier_init(&empty[i], 4 * CONSUMERS);  // one arrival per warp
    }
}

DEVICE void init_barriers(Shared& s) {
    if (threadIdx.x == 0) {
        init_ring(s.x_full, s.x_empty, X_STAGES);
        init_ring(s.w_full, s.w_empty, W_STAGES);
        fence_mbarrier_init();
    }
    __syncthreads();
}

// One thread: fills the rings, tile after tile.
template <int TILE_N>
DEVICE void produce(Shared& s, const CUtensorMap& x, const CUtensorMap& w, const Conv& conv) {
    const uint32_t x_bytes = (TILE_H + conv.kernel_h - 1) * TILE_W * TILE_K * 2;
    Place<X_STAGES> at_x;
    Place<W_STAGES> at_w;
    const auto column = [&](const Tile& tile, int k, int in, int m) {
        uint64_t* const full = &s.x_full[at_x.stage];
        mbarrier_wait(&s.x_empty[at_x.stage], at_x.parity ^ 1);
        mbarrier_arrive_expect_tx(full, x_bytes);
        tma_load(s.x[at_x.stage], x, full,
                 {in, tile.w + m - conv.before_w, tile.h - conv.before_h, conv.frame(tile.t, k)});
        at_x.advance();
        for (int l = 0; l < conv.kernel_h; ++l) {
            uint64_t* const full = &s.w_full[at_w.stage];
            mbarrier_wait(&s.w_empty[at_w.stage], at_w.parity ^ 1);
            mbarrier_arrive_expect_tx(full, TILE_N * TILE_K * 2);
            tma_load(s.w[at_w.stage], w, full,
                     {in, tile.out, (k * conv.kernel_h + l) * conv.kernel_w + m});
            at_w.advance();
        }
    };
    for (int index = blockIdx.x; index < conv.tiles; index += gridDim.x) {
        const Tile tile = conv.tile<TILE_N>(index);
        for (int k = conv.start(tile.t); k < conv.end(tile.t); ++k) {
            for (int in = 0; in < conv.inputs; in += TILE_K) {
                for (int m = 0; m < conv.kernel_w; ++m) column(tile, k, in, m);
            }
        }
    }
}

DEVICE void release(uint64_t* empty) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty);
}

template <int TILE_N>
DEVICE void product(float (&acc)[TILE_N / 2], uint64_t x, uint64_t w, int accumulate) {
    if constexpr (TILE_N == 128) wgmma_m64n128k16_bf16(acc, x, w, accumulate);
    if constexpr (TILE_N == 64) wgmma_m64n64k16_bf16(acc, x, w, accumulate);
}

// One warpgroup: acc = what its positions see times the weights, from the `columns` boxes that the producer loads.
template <int TILE_N>
DEVICE void multiply(Shared& s, Place<X_STAGES>& at_x, Place<W_STAGES>& at_w, int warpgroup,
                     int columns, int kernel_h, float (&acc)[HALVES][TILE_N / 2]) {
    constexpr uint32_t GROUP_BYTES = 8 * TILE_K * 2;  // eight rows of an operand
    constexpr int LINE = TILE_W * TILE_K;
    UNROLL
    for (int half = 0; half < HALVES; ++half) wgmma_pin(acc[half]);
    for (int column = 0; column < columns; ++column) {
        mbarrier_wait(&s.x_full[at_x.stage], at_x.parity);
        const bf16* const box = s.x[at_x.stage] + warpgroup * HALVES * STORE_LINES * LINE;
        for (int l = 0; l < kernel_h; ++l) {
            mbarrier_wait(&s.w_full[at_w.stage], at_w.parity);
            const uint64_t w =
                wgmma_descriptor(s.w[at_w.stage], 16, GROUP_BYTES, Swizzle::B128);
            wgmma_fence();
            UNROLL
            for (int half = 0; half < HALVES; ++half) {
                const uint64_t x = wgmma_descriptor(box + (half * STORE_LINES + l) * LINE, 16,
                                                    GROUP_BYTES, Swizzle::B128);
                UNROLL
                for (int i = 0; i < TILE_K / 16; ++i) {
                    // 16 columns are 32 bytes, two units of a descriptor's address.
                    product<TILE_N>(acc[half], x + 2 * i, w + 2 * i, column + l + i);
                }
            }
            wgmma_commit();
            wgmma_wait<1>();
            if (column + l > 0) release(&s.w_empty[at_w.before()]);
            if (column > 0 && l == 0) release(&s.x_empty[at_x.before()]);
            at_w.advance();
        }
        at_x.advance();
    }
    wgmma_wait<0>();
    UNROLL
    for (int half = 0; half < HALVES; ++half) wgmma_pin(acc[half]);
    release(&s.w_empty[at_w.before()]);
    release(&s.x_empty[at_x.before()]);
}

// Two neighbouring columns.
struct Pair {
    float low = 0.0f, high = 0.0f;

    DEVICE static Pair of(uint32_t both) {
        return Pair{bits_to_float(both << 16), bits_to_float(both & 0xffff0000)};
    }

    DEVICE static Pair load(const bf16* p) { return of(*reinterpret_cast<const uint32_t*>(p)); }
};

// Epilogues.
struct Finish {
    const bf16* b;
    const bf16* residual;  // null where there is none
    int residual_pitch;
    float eps;  // negative where there is no norm
};

// A warpgroup's sums with b, rounded: y[half][2 j + k] are those of columns 8 j + 2 (lane % 4) and the next, at the
// positions lane / 4 + 8 k of this warp's line.
template <int TILE_N>
DEVICE void round_sums(const Finish& f, int first, int outputs,
                       const float (&acc)[HALVES][TILE_N / 2], uint32_t (&y)[HALVES][TILE_N / 4]) {
    UNROLL
    for (int j = 0; j < TILE_N / 8; ++j) {
        const int col = first + 8 * j + threadIdx.x % 4 * 2;
        const Pair bias = col < outputs ? Pair::load(f.b + col) : Pair{};
        UNROLL
        for (int i = 0; i < 2 * HALVES; ++i) {
            const float* const d = acc[i / 2] + 4 * j + 2 * (i % 2);
            y[i / 2][2 * j + i % 2] = pack_bf16(d[0] + bias.low, d[1] + bias.high);
        }
    }
}

// Replaces the columns of each position, which lie in four lanes, by silu of their norm. Those behind the last are
// zero.
template <int TILE_N>
DEVICE void norm_silu(float eps, int outputs, uint32_t (&y)[HALVES][TILE_N / 4]) {
    const auto silu = [](float x) {
        const float v = to_float(to_bf16(x));
        return v * sigmoid(v);
    };
    UNROLL
    for (int i = 0; i < 2 * HALVES; ++i) {
        float sum_sq = 0.0f;
        UNROLL
        for (int j = 0; j < TILE_N / 8; ++j) {
            const Pair v = Pair::of(y[i / 2][2 * j + i % 2]);
            sum_sq = fmaf(v.low, v.low, fmaf(v.high, v.high, sum_sq));
        }
        sum_sq += __shfl_xor_sync(ALL_LANES, sum_sq, 1);
        sum_sq += __shfl_xor_sync(ALL_LANES, sum_sq, 2);
        const float scale = rsqrtf(sum_sq / static_cast<float>(outputs) + eps);
        UNROLL
        for (int j = 0; j < TILE_N / 8; ++j) {
            uint32_t& pair = y[i / 2][2 * j + i % 2];
            const Pair v = Pair::of(pair);
            pair = pack_bf16(silu(v.low * scale), silu(v.high * scale));
        }
    }
}

// Stores a warpgroup's positions, with the residual, through shared memory; what lies beyond the tensor is cut off. A
// warp has a line of them.
template <int TILE_N>
DEVICE void store(Shared& s, int warpgroup, const CUtensorMap& y_map, const Finish& f,
                  const Conv& conv, const Tile& tile, const uint32_t (&y)[HALVES][TILE_N / 4]) {
    constexpr int BOXES = TILE_N / STORE_COLS;
    const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
    const int line = warp * 16 + lane % 16;  // whose address this lane gives to stmatrix
    UNROLL
    for (int box = 0; box < HALVES * BOXES; ++box) {
        const int half = box / BOXES, col = tile.out + box % BOXES * STORE_COLS;
        const int h = tile.h + (warpgroup * HALVES + half) * STORE_LINES;
        // The residual at the two positions that this lane has.
        const bf16* rows[2] = {};
        UNROLL
        for (int i = 0; i < 2; ++i) {
            const int w = tile.w + lane / 4 + 8 * i;
            const int64_t row = (int64_t{tile.t} * conv.out_height + h + warp) * conv.out_width + w;
            if (f.residual && h + warp < conv.out_height && w < conv.out_width) {
                rows[i] = f.residual + row * f.residual_pitch;
            }
        }
        bf16* const buffer = s.y[warpgroup][box % 2];
        if (thread == 0) bulk_wait_read<1>();
        named_barrier_sync(STORE + warpgroup, 128);
        UNROLL
        for (int i = 0; i < STORE_COLS / 16; ++i) {
            uint32_t pairs[4];
            UNROLL
            for (int j = 0; j < 4; ++j) {
                pairs[j] = y[half][box % BOXES * STORE_COLS / 4 + i * 4 + j];
                const int c = col + i * 16 + j / 2 * 8 + lane % 4 * 2;
                if (rows[j % 2] && c < conv.outputs) {
                    const Pair v = Pair::of(pairs[j]), more = Pair::load(rows[j % 2] + c);
                    pairs[j] = pack_bf16(v.low + more.low, v.high + more.high);
                }
            }
            // The 128-byte swizzle: 16-byte piece p of line l lies at p ^ (l % 8).
            const int piece = (2 * i + lane / 16) ^ (line % 8);
            stmatrix_x4(buffer + line * STORE_COLS + piece * 8, pairs);
        }
        fence_proxy_async();
        named_barrier_sync(STORE + warpgroup, 128);
        if (thread == 0) {
            tma_store(y_map, buffer, {col, tile.w, h, tile.t});
            bulk_commit();
        }
    }
}

template <int TILE_N>
DEVICE void consume(Shared& s, const CUtensorMap& y_map, const Finish& f, const Conv& conv) {
    const int warpgroup = threadIdx.x / 128 - 1;
    Place<X_STAGES> at_x;
    Place<W_STAGES> at_w;
    for (int index = blockIdx.x; index < conv.tiles; index += gridDim.x) {
        const Tile tile = conv.tile<TILE_N>(index);
        const int steps = (conv.inputs + TILE_K - 1) / TILE_K * conv.kernel_w;
        const int columns = (conv.end(tile.t) - conv.start(tile.t)) * steps;
        float acc[HALVES][TILE_N / 2];
        multiply<TILE_N>(s, at_x, at_w, warpgroup, columns, conv.kernel_h, acc);
        uint32_t y[HALVES][TILE_N / 4];
        round_sums<TILE_N>(f, tile.out, conv.outputs, acc, y);
        if (f.eps >= 0.0f) norm_silu<TILE_N>(f.eps, conv.outputs, y);
        store<TILE_N>(s, warpgroup, y_map, f, conv, tile, y);
    }
    if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
}

template <int TILE_N>
DEVICE void conv3d(const CUtensorMap& y_map, const CUtensorMap& x_map, const CUtensorMap& w_map,
                   const bf16* b, const bf16* residual, int residual_pitch, ConvShape c, int tiles,
                   float eps) {
    const Finish f{b, residual, residual_pitch, eps};
    const Conv conv{c.size.t,   c.inputs,   c.outputs,  c.out_size.h, c.out_size.w,     c.kernel.t, c.kernel.h,
                    c.kernel.w, c.before.t, c.before.h, c.before.w,   c.replicate != 0, tiles};
    K_DYN_SMEM(raw);
    Shared& s = *reinterpret_cast<Shared*>(raw);
    init_barriers(s);
    if (threadIdx.x < 128) {
        register_dealloc<PRODUCER_REGISTERS>();
        if (threadIdx.x == 0) produce<TILE_N>(s, x_map, w_map, conv);
    } else {
        register_alloc<CONSUMER_REGISTERS>();
        consume<TILE_N>(s, y_map, f, conv);
    }
}

K_INSTANTIATE_MAPS(THREADS, 1, 9, conv3d_n64_bf16, conv3d<64>)
K_INSTANTIATE_MAPS(THREADS, 1, 9, conv3d_n128_bf16, conv3d<128>)

// Eight inputs of one output and one run of taps.
struct Piece {
    int out, in, run;

    DEVICE static Piece of_thread(int inputs, int runs) {
        const int pieces = (inputs + Vec8::SIZE - 1) / Vec8::SIZE;
        const int at = blockIdx.x * PACK_THREADS + threadIdx.x;
        return Piece{at / pieces / runs, at % pieces * Vec8::SIZE, at / pieces % runs};
    }

    DEVICE static Vec8 taps(const bf16* w, int out, int in, int run, int inputs, int runs) {
        if (in >= inputs) return Vec8{};
        return Vec8::load(w + ((int64_t{out} * inputs + in) * runs + run) * WEIGHT_PITCH);
    }
};

K_KERNEL(PACK_THREADS, 1)
conv3d_pack_bf16(bf16* packed, const bf16* w, int outputs, int inputs, int runs, int run,
                 int pitch) {
    const Piece at = Piece::of_thread(inputs, runs);
    if (at.out >= outputs) return;
    Vec8 taps[Vec8::SIZE];
    UNROLL
    for (int i = 0; i < Vec8::SIZE; ++i) {
        taps[i] = Piece::taps(w, at.out, at.in + i, at.run, inputs, runs);
    }
    UNROLL
    for (int m = 0; m < WEIGHT_PITCH; ++m) {
        if (m >= run) break;
        Vec8 values;
        UNROLL
        for (int i = 0; i < Vec8::SIZE; ++i) values.v[i] = taps[i].v[m];
        values.store(packed + ((int64_t{at.run} * run + m) * outputs + at.out) * pitch + at.in);
    }
}
K_EXPORT(conv3d_pack_bf16)

K_KERNEL(PACK_THREADS, 1)
conv3d_doubled_bf16(bf16* packed, const bf16* w, int outputs, int inputs, int pitch) {
    const Piece at = Piece::of_thread(inputs, 1);
    if (at.out >= outputs) return;
    Vec8 sums[16]{};
    UNROLL
    for (int i = 0; i < Vec8::SIZE; ++i) {
        UNROLL
        for (int l = 0; l < 3; ++l) {
            const Vec8 taps = Piece::taps(w, at.out, at.in + i, l, inputs, 3);
            UNROLL
            for (int at = 0; at < 12; ++at) {
                const int p = at / 6, q = at / 3 % 2, m = at % 3;
                const int tap = ((2 * p + q) * 2 + (l + 1 - p) / 2) * 2 + (m + 1 - q) / 2;
                sums[tap].v[i] += taps.v[m];
            }
        }
    }
    UNROLL
    for (int tap = 0; tap < 16; ++tap) {
        sums[tap].store(packed + (int64_t{tap} * outputs + at.out) * pitch + at.in);
    }
}
K_EXPORT(conv3d_doubled_bf16)
