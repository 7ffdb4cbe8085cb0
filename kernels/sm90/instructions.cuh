// The instructions of sm_90a that our kernels use, one function each, named as in PTX: barriers of clusters,
// mbarriers, TMA, warpgroup products and moves of matrices. As dialect.cuh, each with a second body for the emulator.
#pragma once

#include "dialect.cuh"

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

// ---- wgmma; the instructions themselves are in wgmma_gen.cuh ------------------------------------

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

// Orders this thread's register accesses before the wgmmas that follow.
DEVICE void wgmma_fence() {
#ifdef __CUDACC__
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    emu::wgmma_fence();
#endif
}

// Commits this warpgroup's group of wgmmas.
DEVICE void wgmma_commit() {
#ifdef __CUDACC__
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    emu::wgmma_commit();
#endif
}

// Waits until all but the last `LEFT` groups of wgmmas are done.
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
