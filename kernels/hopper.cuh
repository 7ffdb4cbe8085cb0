// The instructions of sm_90a that our kernels use, one function each, named as in PTX. Every
// function has two bodies: inline PTX for nvcc, and a call into the emulator of tests/emulate for a
// host compiler. Kernels include this header and no header of CUDA's.
//
// Rules of the dialect, which both compilers rely on:
//   - a kernel is K_KERNEL(threads, min_blocks) name(args) {...}, and behind it K_EXPORT(name)
//   - shared memory is K_DYN_SMEM or K_SMEM, never a bare __shared__
//   - tensor maps are parameters: const __grid_constant__ CUtensorMap
//   - waiting is done by the functions here, never by reading memory in a loop
//   - warp collectives name their lanes, and nothing relies on lanes marching together
//   - where both worlds must agree bit for bit, write fmaf: only nvcc contracts a * b + c
#pragma once

#include <stdint.h>

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define K_KERNEL(threads, min_blocks) \
    extern "C" __global__ void __launch_bounds__(threads, min_blocks)
#define K_KERNEL_CLUSTER(threads, min_blocks, blocks) \
    extern "C" __global__ void __cluster_dims__(blocks, 1, 1) __launch_bounds__(threads, min_blocks)
#define K_EXPORT(name)
#define K_DYN_SMEM(name) extern __shared__ __align__(1024) unsigned char name[]
#define K_SMEM(type, name)    \
    using name##_type = type; \
    __shared__ name##_type name

#else

#include "emu.h"

#define DEVICE inline
#define UNROLL
#define K_KERNEL(threads, min_blocks) static void
#define K_KERNEL_CLUSTER(threads, min_blocks, blocks) static void
#define K_EXPORT(name)                                                                      \
    extern "C" __attribute__((visibility("default"))) void emu_kernel_##name(void** args) { \
        emu::call(name, args);                                                              \
    }
#define K_DYN_SMEM(name) unsigned char* const name = emu::dynamic_shared()
#define K_SMEM(type, name)                          \
    using name##_type = type;                       \
    static const char name##_key = 0;               \
    name##_type& name = *static_cast<name##_type*>( \
        emu::static_shared(&name##_key, sizeof(name##_type), alignof(name##_type)))

#endif

// A tensor map as the driver encodes it; opaque to kernels.
struct alignas(128) CUtensorMap {
    unsigned long long words[16];
};

// ---- numbers ------------------------------------------------------------------------------------

struct bf16 {
    uint16_t bits;
};

// 8-bit float with 4 exponent and 3 mantissa bits: largest value 448, no infinity.
struct e4m3 {
    uint8_t bits;
};

DEVICE float bits_to_float(uint32_t bits) {
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    return emu::bits_to_float(bits);
#endif
}

DEVICE float to_float(bf16 x) {
    return bits_to_float(uint32_t{x.bits} << 16);
}

// Two f32 rounded to nearest even, `low` in the lower half.
DEVICE uint32_t pack_bf16(float low, float high) {
#ifdef __CUDACC__
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return emu::to_bf16(low) | uint32_t{emu::to_bf16(high)} << 16;
#endif
}

DEVICE bf16 to_bf16(float x) {
    bf16 y;
#ifdef __CUDACC__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    y.bits = emu::to_bf16(x);
#endif
    return y;
}

DEVICE float to_float(e4m3 x) {
#ifdef __CUDACC__
    float y;
    asm("{\n\t.reg .b16 low, high;\n\t.reg .b32 pair;\n\t"
        "cvt.rn.f16x2.e4m3x2 pair, %1;\n\tmov.b32 {low, high}, pair;\n\tcvt.f32.f16 %0, low;\n\t}"
        : "=f"(y)
        : "h"(uint16_t{x.bits}));
    return y;
#else
    return emu::from_e4m3(x.bits);
#endif
}

// Two f32 rounded to nearest even and held within +-448, `low` in the lower byte.
DEVICE uint16_t pack_e4m3(float low, float high) {
#ifdef __CUDACC__
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return static_cast<uint16_t>(emu::to_e4m3(low) | emu::to_e4m3(high) << 8);
#endif
}

// 2^x, off by at most 2 ulp; subnormal results are zero.
DEVICE float fast_exp2(float x) {
#ifdef __CUDACC__
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return emu::exp2(x);
#endif
}

// 1 / sqrt(x), off by at most 2 ulp.
DEVICE float fast_rsqrt(float x) {
#ifdef __CUDACC__
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return emu::rsqrt(x);
#endif
}

// 1 / x, off by at most 1 ulp; subnormal results are zero.
DEVICE float fast_reciprocal(float x) {
#ifdef __CUDACC__
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

// ---- places -------------------------------------------------------------------------------------

// Address of `p` in the window of shared memory.
DEVICE uint32_t shared_address(const void* p) {
#ifdef __CUDACC__
    return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#else
    return emu::shared_address(p);
#endif
}

// Rank of this block in its cluster.
DEVICE uint32_t cluster_rank() {
#ifdef __CUDACC__
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
#else
    return emu::place().cluster_rank;
#endif
}

// ---- barriers of a block and a cluster ----------------------------------------------------------

// Waits until `threads` threads have come to barrier `id` (1 to 15; 0 is __syncthreads).
DEVICE void named_barrier_sync(int id, int threads) {
#ifdef __CUDACC__
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
    emu::named_barrier(id, threads, true);
#endif
}

// Counts as having come to barrier `id`, without waiting.
DEVICE void named_barrier_arrive(int id, int threads) {
#ifdef __CUDACC__
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
    emu::named_barrier(id, threads, false);
#endif
}

// Waits until every thread of the cluster has come here; what they wrote before is visible after.
DEVICE void cluster_sync() {
#ifdef __CUDACC__
    asm volatile(
        "barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::
            : "memory");
#else
    emu::cluster_sync();
#endif
}

// ---- mbarriers: a phase ends when all arrivals and all announced bytes have come ----------------

// A phase takes `arrivals`. Publish with fence_mbarrier_init and a barrier of the threads that use
// it.
DEVICE void mbarrier_init(uint64_t* bar, uint32_t arrivals) {
#ifdef __CUDACC__
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)), "r"(arrivals)
                 : "memory");
#else
    emu::mbarrier_init(bar, arrivals);
#endif
}

// Publishes initialised mbarriers to the cluster and to the asynchronous engine.
DEVICE void fence_mbarrier_init() {
#ifdef __CUDACC__
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
    emu::fence_mbarrier_init();
#endif
}

DEVICE void mbarrier_arrive(uint64_t* bar) {
#ifdef __CUDACC__
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar)) : "memory");
#else
    emu::mbarrier_arrive(bar, 0);
#endif
}

// Announces `bytes` that TMA loads will bring in this phase, and arrives.
DEVICE void mbarrier_arrive_expect_tx(uint64_t* bar, uint32_t bytes) {
#ifdef __CUDACC__
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(bar)),
        "r"(bytes)
        : "memory");
#else
    emu::mbarrier_arrive(bar, bytes);
#endif
}

// Arrives on the mbarrier at the same place in block `rank` of the cluster. It makes no writes of this
// block visible there: told to, by .release.cluster, the compiler puts a fence of the whole GPU in
// front, and all that waits behind these barriers is that shared memory has been read.
DEVICE void mbarrier_arrive_cluster(uint64_t* bar, uint32_t rank) {
#ifdef __CUDACC__
    asm volatile(
        "{\n\t.reg .b32 there;\n\tmapa.shared::cluster.u32 there, %0, %1;\n\t"
        "mbarrier.arrive.shared::cluster.b64 _, [there];\n\t}" ::"r"(
            shared_address(bar)),
        "r"(rank)
        : "memory");
#else
    emu::mbarrier_arrive_cluster(bar, rank);
#endif
}

// Waits until the phase of parity `parity` has ended. On a barrier just initialised, parity 1
// passes at once.
DEVICE void mbarrier_wait(uint64_t* bar, uint32_t parity) {
#ifdef __CUDACC__
    uint32_t ended;
    do {
        asm volatile(
            "{\n\t.reg .pred p;\n\tmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
            "selp.u32 %0, 1, 0, p;\n\t}"
            : "=r"(ended)
            : "r"(shared_address(bar)), "r"(parity)
            : "memory");
    } while (!ended);
#else
    emu::mbarrier_wait(bar, parity);
#endif
}

// ---- TMA: boxes of tensors of 1 to 5 dimensions, coordinates innermost first --------------------

// Brings a descriptor into the cache of the TMA unit.
DEVICE void prefetch_tensormap(const CUtensorMap& map) {
#ifdef __CUDACC__
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#else
    emu::check_map(&map);
#endif
}

// Loads the box at `at` to `to`; its bytes count on `bar`. What lies outside of the tensor arrives
// as zeros.
template <int RANK>
DEVICE void tma_load(void* to, const CUtensorMap& map, uint64_t* bar, const int (&at)[RANK]) {
    static_assert(RANK >= 1 && RANK <= 5);
#ifdef __CUDACC__
#define LOAD(rank, coordinates)                                                     \
    "cp.async.bulk.tensor." rank                                                    \
    ".shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {" coordinates \
    "}], [%2];" ::"r"(shared_address(to)),                                          \
        "l"(&map), "r"(shared_address(bar))
    if constexpr (RANK == 1) asm volatile(LOAD("1d", "%3"), "r"(at[0]) : "memory");
    if constexpr (RANK == 2) asm volatile(LOAD("2d", "%3, %4"), "r"(at[0]), "r"(at[1]) : "memory");
    if constexpr (RANK == 3)
        asm volatile(LOAD("3d", "%3, %4, %5"), "r"(at[0]), "r"(at[1]), "r"(at[2]) : "memory");
    if constexpr (RANK == 4)
        asm volatile(LOAD("4d", "%3, %4, %5, %6"), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
                     : "memory");
    if constexpr (RANK == 5)
        asm volatile(LOAD("5d", "%3, %4, %5, %6, %7"), "r"(at[0]), "r"(at[1]), "r"(at[2]),
                     "r"(at[3]), "r"(at[4])
                     : "memory");
#undef LOAD
#else
    emu::tma_load(to, &map, bar, at, RANK, 1u << emu::place().cluster_rank);
#endif
}

// The same into every block of the cluster whose bit is in `blocks`: same place, and each block's
// own `bar` counts.
template <int RANK>
DEVICE void tma_load_multicast(void* to, const CUtensorMap& map, uint64_t* bar, uint16_t blocks,
                               const int (&at)[RANK]) {
    static_assert(RANK >= 2 && RANK <= 4);
#ifdef __CUDACC__
#define LOAD(rank, coordinates)                                                           \
    "cp.async.bulk.tensor." rank                                                          \
    ".shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, " \
    "{" coordinates "}], [%2], %3;" ::"r"(shared_address(to)),                            \
        "l"(&map), "r"(shared_address(bar)), "h"(blocks)
    if constexpr (RANK == 2) asm volatile(LOAD("2d", "%4, %5"), "r"(at[0]), "r"(at[1]) : "memory");
    if constexpr (RANK == 3)
        asm volatile(LOAD("3d", "%4, %5, %6"), "r"(at[0]), "r"(at[1]), "r"(at[2]) : "memory");
    if constexpr (RANK == 4)
        asm volatile(LOAD("4d", "%4, %5, %6, %7"), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
                     : "memory");
#undef LOAD
#else
    emu::tma_load(to, &map, bar, at, RANK, blocks);
#endif
}

// Stores the box at `from` to `at`, cut off at the tensor's ends. Belongs to the thread's next
// bulk_commit.
template <int RANK>
DEVICE void tma_store(const CUtensorMap& map, const void* from, const int (&at)[RANK]) {
    static_assert(RANK >= 1 && RANK <= 5);
#ifdef __CUDACC__
#define STORE(rank, coordinates)                                                     \
    "cp.async.bulk.tensor." rank ".global.shared::cta.bulk_group [%0, {" coordinates \
    "}], [%1];" ::"l"(&map),                                                         \
        "r"(shared_address(from))
    if constexpr (RANK == 1) asm volatile(STORE("1d", "%2"), "r"(at[0]) : "memory");
    if constexpr (RANK == 2) asm volatile(STORE("2d", "%2, %3"), "r"(at[0]), "r"(at[1]) : "memory");
    if constexpr (RANK == 3)
        asm volatile(STORE("3d", "%2, %3, %4"), "r"(at[0]), "r"(at[1]), "r"(at[2]) : "memory");
    if constexpr (RANK == 4)
        asm volatile(STORE("4d", "%2, %3, %4, %5"), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
                     : "memory");
    if constexpr (RANK == 5)
        asm volatile(STORE("5d", "%2, %3, %4, %5, %6"), "r"(at[0]), "r"(at[1]), "r"(at[2]),
                     "r"(at[3]), "r"(at[4])
                     : "memory");
#undef STORE
#else
    emu::tma_store(&map, from, at, RANK);
#endif
}

// Closes this thread's group of stores.
DEVICE void bulk_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
    emu::bulk_commit();
#endif
}

// Waits until all but the last `LEFT` groups of this thread have read their shared memory.
template <int LEFT>
DEVICE void bulk_wait_read() {
#ifdef __CUDACC__
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(LEFT) : "memory");
#else
    emu::bulk_wait(LEFT, true);
#endif
}

// Waits until all but the last `LEFT` groups of this thread have been written.
template <int LEFT>
DEVICE void bulk_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(LEFT) : "memory");
#else
    emu::bulk_wait(LEFT, false);
#endif
}

// Publishes this thread's ordinary writes to shared memory to TMA and wgmma.
DEVICE void fence_proxy_async() {
#ifdef __CUDACC__
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
    emu::fence_proxy_async();
#endif
}

// ---- wgmma; the products themselves are in wgmma_gen.cuh ----------------------------------------

// How 16-byte pieces of a row are permuted in shared memory, as the descriptor of wgmma encodes it.
enum class Swizzle : uint64_t { NONE = 0, B128 = 1, B64 = 2, B32 = 3 };

// Describes an operand at `p`. K-major: `stride` bytes between groups of 8 rows; `leading` matters
// only without swizzle, between pieces of 16 bytes along K. MN-major: `leading` between pieces of
// one swizzle span along M or N, `stride` between groups of 8 along K.
DEVICE uint64_t wgmma_descriptor(const void* p, uint32_t leading, uint32_t stride,
                                 Swizzle swizzle) {
    const auto field = [](uint32_t bytes) { return uint64_t{(bytes & 0x3ffff) >> 4}; };
    return field(shared_address(p)) | field(leading) << 16 | field(stride) << 32 |
           static_cast<uint64_t>(swizzle) << 62;
}

// Orders this thread's register accesses before the products that follow.
DEVICE void wgmma_fence() {
#ifdef __CUDACC__
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    emu::wgmma_fence();
#endif
}

// Closes this warpgroup's group of products.
DEVICE void wgmma_commit() {
#ifdef __CUDACC__
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    emu::wgmma_commit();
#endif
}

// Waits until all but the last `LEFT` groups of products are done.
template <int LEFT>
DEVICE void wgmma_wait() {
#ifdef __CUDACC__
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
#else
    emu::wgmma_wait(LEFT);
#endif
}

// Keeps the compiler from moving reads and writes of accumulators across this line. Use it in front
// of the first product of a loop and behind its last wait; in between it makes ptxas serialise the
// products.
template <int COUNT>
DEVICE void wgmma_pin(float (&d)[COUNT]) {
#ifdef __CUDACC__
    UNROLL
    for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(d[i])::"memory");
#else
    (void)d;
#endif
}

// Registers that a block of `threads` can share out: the compiler gives every thread the same
// multiple of 8, and what is left of 65536 belongs to no block. Who waits for more waits forever.
constexpr int block_registers(int threads) {
    return 65536 / threads / 8 * 8 * threads;
}

// Gives registers of this warpgroup back until it holds `COUNT` per thread.
template <int COUNT>
DEVICE void register_dealloc() {
    static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256);
#ifdef __CUDACC__
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
#else
    emu::give_registers(COUNT);
#endif
}

// Waits until this warpgroup can hold `COUNT` registers per thread.
template <int COUNT>
DEVICE void register_alloc() {
    static_assert(COUNT % 8 == 0 && COUNT >= 24 && COUNT <= 256);
#ifdef __CUDACC__
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
#else
    emu::take_registers(COUNT);
#endif
}

// ---- matrices of 8x8 16-bit elements, four at a time --------------------------------------------

// Lane 8i + r gives the address of row r of matrix i; lane t holds elements 2(t % 4) and the next
// of row t / 4 of matrix i in r[i], or of its transpose.
template <bool TRANSPOSED = false>
DEVICE void stmatrix_x4(void* row, const uint32_t (&r)[4]) {
#ifdef __CUDACC__
    if constexpr (TRANSPOSED) {
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                         shared_address(row)),
                     "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                     : "memory");
    } else {
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                         shared_address(row)),
                     "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                     : "memory");
    }
#else
    emu::stmatrix_x4(row, r, TRANSPOSED);
#endif
}

// The same, read.
template <bool TRANSPOSED = false>
DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
#ifdef __CUDACC__
    if constexpr (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(shared_address(row))
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(shared_address(row))
                     : "memory");
    }
#else
    emu::ldmatrix_x4(r, row, TRANSPOSED);
#endif
}
