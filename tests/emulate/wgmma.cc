// wgmma: 128 threads bring their parts of an instruction, the engine executes it later, and a wait
// gives the accumulators back. In between the registers hold poison and their values lie in a tile.
#include <cmath>

#include "machine.h"

namespace emu {

constexpr int ROWS = 64;
constexpr int MAX_K = 32;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_CPU
#endif

static Warpgroup& own_warpgroup() {
    Fiber& fiber = *launch->current;
    if ((fiber.thread / 128 + 1) * 128 > static_cast<int>(launch->how.block))
        fail("wgmma outside of a whole warpgroup");
    return fiber.block->warpgroups[static_cast<size_t>(fiber.thread / 128)];
}

static uint64_t hash_of(const float* registers, int count) {
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < count; ++i) hash = (hash ^ float_to_bits(registers[i])) * 0x100000001b3;
    return hash;
}

// Row and column of register i of thread `thread`.
static int row_of(int thread, int i) {
    return 16 * (thread / 32) + thread % 32 / 4 + 8 * (i % 4 / 2);
}
static int col_of(int thread, int i) {
    return 8 * (i / 4) + 2 * (thread % 4) + i % 2;
}

// ---- issue --------------------------------------------------------------------------------------

// Registers that were never given to a wgmma, or were written since, need a fence.
static void check_fence(const Fiber& fiber, const float* d, int count) {
    uint64_t needed = fiber.fences_at_wait;
    for (const Seen& seen : fiber.seen) {
        if (seen.registers != d || seen.count != count) continue;
        if (seen.hash == hash_of(d, count)) return;
        needed = seen.fences;
    }
    if (fiber.fences <= needed) fail("wgmma on accumulators that were written without wgmma_fence");
}

static Tile* free_tile(Warpgroup& group) {
    for (auto& tile : group.tiles)
        if (tile->holders == 0) return tile.get();
    return group.tiles.emplace_back(std::make_unique<Tile>()).get();
}

// Moves the thread's accumulators to the wgmma's tile, unless earlier wgmmas still work on them
// there.
static void bring_accumulators(Warpgroup& group, Product& product, float* d) {
    Fiber& fiber = *launch->current;
    const int count = product.cols / 2;
    for (Held& held : fiber.held) {
        if (held.registers == d && held.cols == product.cols) {
            if (product.tile && product.tile != held.tile) {
                fail("wgmma: threads of a warpgroup name different accumulators");
            }
            product.tile = held.tile;
            held.last_product = fiber.products;
            return;
        }
        if (d < held.registers + held.cols / 2 && held.registers < d + count) {
            fail("wgmma on accumulators that overlap those of a product in flight");
        }
    }
    check_fence(fiber, d, count);
    if (!product.tile) {
        product.tile = free_tile(group);
        product.tile->cols = product.cols;
        product.tile->holders = 128;
        product.tile_is_fresh = true;
    } else if (!product.tile_is_fresh) {
        fail("wgmma: threads of a warpgroup name different accumulators");
    }
    const int thread = fiber.thread % 128;
    for (int i = 0; i < count; ++i)
        product.tile->values[row_of(thread, i) * product.cols + col_of(thread, i)] = d[i];
    memset(d, POISON, static_cast<size_t>(count) * sizeof *d);
    fiber.held.push_back({d, product.tile, product.cols, fiber.products});
}

// 32 bytes along K of each row: two pairs of rows and halves per thread, as the fragment layouts
// say.
static void bring_a(Product& product, const uint32_t* registers) {
    const Fiber& fiber = *launch->current;
    if (fiber.fences <= fiber.fences_at_wait) fail("wgmma with A in registers without wgmma_fence");
    const int thread = fiber.thread % 128;
    for (int i = 0; i < 4; ++i) {
        const int row = 16 * (thread / 32) + thread % 32 / 4 + 8 * (i % 2);
        memcpy(product.a_bytes[row] + 4 * (thread % 4) + 16 * (i / 2), &registers[i], 4);
    }
}

static void execute(Warpgroup& group);

void wgmma(Type type, float* d, int n, Operand a, Operand b, bool accumulate) {
    step();
    Fiber& fiber = *launch->current;
    Warpgroup& group = own_warpgroup();
    const uint64_t index = fiber.products - group.done;
    if (index == group.open.size()) group.open.emplace_back();
    Product& product = group.open[index];
    const uint64_t a_descriptor = a.registers ? 0 : a.descriptor, commits = fiber.committed.size();
    const auto attributes = [](const Product& p) {
        return std::tuple(p.type, p.cols, p.a, p.b, p.a_in_registers, p.a_transposed,
                          p.b_transposed, p.accumulate, p.group);
    };
    Product own;
    own.type = type;
    own.cols = n;
    own.a = a_descriptor;
    own.b = b.descriptor;
    own.a_in_registers = a.registers != nullptr;
    own.a_transposed = a.transposed;
    own.b_transposed = b.transposed;
    own.accumulate = accumulate;
    own.group = commits;
    if (product.arrived == 0) {
        product = own;
    } else if (attributes(product) != attributes(own)) {
        fail(
            "wgmma: the threads of the warpgroup disagree on shape, descriptors, accumulation or "
            "group");
    }
    bring_accumulators(group, product, d);
    if (a.registers) bring_a(product, a.registers);
    ++fiber.products;
    if (++product.arrived == 128) enqueue([&group] { execute(group); });
}

void wgmma_fence() {
    step();
    ++launch->current->fences;
}

void wgmma_commit() {
    step();
    launch->current->committed.push_back(launch->current->products);
}

void wgmma_wait(uint64_t left) {
    step();
    Fiber& fiber = *launch->current;
    Warpgroup& group = own_warpgroup();
    const uint64_t commits = fiber.committed.size();
    const uint64_t needed = commits > left ? fiber.committed[commits - left - 1] : 0;
    while (group.done < needed)
        wait_in(group.waiters, {"products up to", static_cast<uint32_t>(needed), 0});
    fiber.fences_at_wait = fiber.fences;
    for (size_t i = 0; i < fiber.held.size();) {
        const Held held = fiber.held[i];
        if (held.last_product >= needed) {
            ++i;
            continue;
        }
        const int count = held.cols / 2, thread = fiber.thread % 128;
        for (int r = 0; r < count; ++r) {
            if (float_to_bits(held.registers[r]) != 0xffffffff)
                fail("an accumulator was written while a product works on it");
            held.registers[r] =
                held.tile->values[row_of(thread, r) * held.cols + col_of(thread, r)];
        }
        --held.tile->holders;
        const Seen now{held.registers, count, hash_of(held.registers, count), fiber.fences};
        bool known = false;
        for (Seen& seen : fiber.seen) {
            if (seen.registers == now.registers && seen.count == now.count) {
                seen = now;
                known = true;
            }
        }
        if (!known) fiber.seen.push_back(now);
        fiber.held.erase(fiber.held.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

void check_products_at_exit(const Fiber& fiber) {
    if (!fiber.held.empty()) fail("the thread ends with products it has not waited for");
}

// ---- execution ----------------------------------------------------------------------------------

// An operand in shared memory, from its descriptor.
struct Matrix {
    Block& block;
    uint32_t start, leading, stride, span;
    const char* who;

    Matrix(Block& block, uint64_t descriptor, const char* who) : block(block), who(who) {
        const auto field = [=](int bit) {
            return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4;
        };
        start = field(0);
        leading = field(16);
        stride = field(32);
        constexpr uint32_t SPANS[] = {16, 128, 64, 32};
        span = SPANS[descriptor >> 62];
        if ((descriptor >> 49 & 7) != 0) fail("%s: base offsets are not emulated", who);
        if (span > 16 && start % (8 * span) >= span) {
            fail("%s at %#x does not begin in the first row of a swizzle pattern of %u bytes", who,
                 start, 8 * span);
        }
    }

    // Bytes of rows * 32 bytes along K, to out[row][byte].
    void read_k_major(int rows, uint8_t (*out)[32]) const {
        for (uint32_t row = 0; row < static_cast<uint32_t>(rows); ++row)
            for (uint32_t byte = 0; byte < 32; byte += 16) {
                const uint32_t inner = span == 16 ? byte / 16 * leading : byte;
                const uint32_t at = start + row / 8 * stride + row % 8 * span + inner;
                engine_read(block, swizzled(at, span), out[row] + byte, 16, who);
            }
    }

    // The same from 16-bit elements that lie along rows.
    void read_mn_major(int rows, uint8_t (*out)[32]) const {
        if (span == 16) fail("%s: MN-major operands without swizzle are not emulated", who);
        for (uint32_t k = 0; k < 16; ++k)
            for (uint32_t row = 0; row < static_cast<uint32_t>(rows); row += 8) {
                const uint32_t byte = row * 2;
                const uint32_t at =
                    start + byte / span * leading + byte % span + k / 8 * stride + k % 8 * span;
                uint8_t piece[16];
                engine_read(block, swizzled(at, span), piece, 16, who);
                for (uint32_t i = 0; i < 8; ++i) memcpy(out[row + i] + 2 * k, piece + 2 * i, 2);
            }
    }

    void read(int rows, bool transposed, uint8_t (*out)[32]) const {
        transposed ? read_mn_major(rows, out) : read_k_major(rows, out);
    }
};

static int unpack(Type type, const uint8_t (&bytes)[32], float (&out)[MAX_K]) {
    if (type == Type::E4M3) {
        for (int k = 0; k < 32; ++k) out[k] = from_e4m3(bytes[k]);
        return 32;
    }
    for (int k = 0; k < 16; ++k)
        out[k] = bits_to_float(uint32_t{bytes[2 * k + 1]} << 24 | uint32_t{bytes[2 * k]} << 16);
    return 16;
}

// d += a b with a [64][depth], b [depth][cols]. Products of 8-bit mantissas are exact in f32, so
// that a fused and an unfused multiply-add agree and every machine computes the same.
FOR_EACH_CPU static void multiply(float* d, const float (*a)[MAX_K], const float (*b)[256],
                                  int cols, int depth) {
    constexpr int STRIP = 8;  // every shape is a multiple
    for (int first = 0; first < cols; first += STRIP)
        for (int row = 0; row < ROWS; ++row) {
            float sum[STRIP];
            float* const line = d + row * cols + first;
            for (int i = 0; i < STRIP; ++i) sum[i] = line[i];
            for (int k = 0; k < depth; ++k)
                for (int i = 0; i < STRIP; ++i) sum[i] += a[row][k] * b[k][first + i];
            for (int i = 0; i < STRIP; ++i) line[i] = sum[i];
        }
}

// The same as the hardware is reported to sum FP8 products: every term aligned to the largest
// exponent, with 13 fraction bits, the rest cut off.
static void multiply_truncated(float* d, const float (*a)[MAX_K], const float (*b)[256], int cols,
                               int depth) {
    constexpr int FRACTION_BITS = 13;
    for (int row = 0; row < ROWS; ++row)
        for (int col = 0; col < cols; ++col) {
            float terms[MAX_K + 1];
            float largest = 0.0f;
            for (int k = 0; k <= depth; ++k) {
                terms[k] = k < depth ? a[row][k] * b[k][col] : d[row * cols + col];
                largest = fmaxf(largest, fabsf(terms[k]));
            }
            if (largest == 0.0f || !std::isfinite(largest)) {
                float sum = 0.0f;
                for (int k = 0; k <= depth; ++k) sum += terms[k];
                d[row * cols + col] = sum;
                continue;
            }
            const double unit = std::ldexp(1.0, std::ilogb(largest) - FRACTION_BITS);
            double sum = 0.0;
            for (int k = 0; k <= depth; ++k) sum += std::trunc(terms[k] / unit);
            d[row * cols + col] = static_cast<float>(sum * unit);
        }
}

// The oldest wgmma of the warpgroup.
static void execute(Warpgroup& group) {
    Product& product = group.open.front();
    static thread_local uint8_t b_bytes[256][32];
    static thread_local float a[ROWS][MAX_K], b[MAX_K][256];
    if (!product.a_in_registers) {
        Matrix(*group.block, product.a, "wgmma A")
            .read(ROWS, product.a_transposed, product.a_bytes);
    }
    Matrix(*group.block, product.b, "wgmma B").read(product.cols, product.b_transposed, b_bytes);
    int depth = 0;
    for (int row = 0; row < ROWS; ++row) depth = unpack(product.type, product.a_bytes[row], a[row]);
    for (int col = 0; col < product.cols; ++col) {
        float values[MAX_K];
        unpack(product.type, b_bytes[col], values);
        for (int k = 0; k < depth; ++k) b[k][col] = values[k];
    }
    float* const d = product.tile->values;
    if (!product.accumulate) memset(d, 0, sizeof(float) * ROWS * static_cast<size_t>(product.cols));
    if (product.type == Type::E4M3 && launch->how.truncate) {
        multiply_truncated(d, a, b, product.cols, depth);
    } else {
        multiply(d, a, b, product.cols, depth);
    }
    group.open.pop_front();
    ++group.done;
    wake(group.waiters);
}

// ---- 8-bit floats -------------------------------------------------------------------------------

float from_e4m3(uint8_t bits) {
    const int exponent = bits >> 3 & 15, fraction = bits & 7;
    if (exponent == 15 && fraction == 7) return bits_to_float(0x7fffffff);
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                     : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
    return bits >> 7 ? -size : size;
}

uint8_t to_e4m3(float x) {
    const auto sign = static_cast<uint8_t>(float_to_bits(x) >> 31 << 7);
    const float size = fabsf(x);
    if (size != size) return 0x7f;
    if (size >= 448.0f) return sign | 0x7e;
    const int exponent = size < 0x1p-6f ? -6 : std::ilogb(size);
    // In units of the last place; rounding up to 16 carries into the exponent by itself.
    const auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, 3 - exponent)));
    return static_cast<uint8_t>(sign | ((exponent + 6) * 8 + steps));
}

}  // namespace emu
