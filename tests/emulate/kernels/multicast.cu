// multicast: y[b, i] = (b + 1) * sum of x[r, i] over all rounds r, by two blocks that share loads
//
//   x       [rounds, 256] f32, box 128 x 1
//   y       [2, 256] f32
//
// In each round block b loads half b of the row into both blocks; a stage is free again when the
// consumers of both blocks have read it.
//
//   launch  grid (2), cluster 2, block 160: a warp that loads, four that add
//   bound   none, this is a test
//   math    f32
//   error   exact on whole numbers

#include "common.cuh"

constexpr int STAGES = 3;
constexpr int COLS = 256;
constexpr int HALF = 128;

struct alignas(128) Shared {
    float row[STAGES][COLS];
    uint64_t full[STAGES], empty[STAGES];
};

DEVICE void load_rows(Shared& s, const CUtensorMap& x, int rounds) {
    const int half = static_cast<int>(cluster_rank()) * HALF;
    for (int round = 0; round < rounds; ++round) {
        const int stage = round % STAGES;
        mbarrier_wait(&s.empty[stage], round / STAGES % 2 ^ 1);
        mbarrier_arrive_expect_tx(&s.full[stage], COLS * 4);
        tma_load_multicast(s.row[stage] + half, x, &s.full[stage], 3, {half, round});
    }
}

DEVICE void add_rows(Shared& s, float* y, int rounds) {
    const int thread = threadIdx.x - 32;
    float sums[2] = {0.0f, 0.0f};
    for (int round = 0; round < rounds; ++round) {
        const int stage = round % STAGES;
        mbarrier_wait(&s.full[stage], round / STAGES % 2);
        sums[0] += s.row[stage][thread];
        sums[1] += s.row[stage][thread + HALF];
        __syncwarp();
        if (thread % 32 < 2) mbarrier_arrive_cluster(&s.empty[stage], thread % 32);
    }
    const int rank = static_cast<int>(cluster_rank());
    for (int i = 0; i < 2; ++i) y[rank * COLS + thread + i * HALF] = (rank + 1) * sums[i];
}

K_KERNEL_CLUSTER(160, 1, 2)
multicast(float* y, const __grid_constant__ CUtensorMap x, int rounds) {
    K_SMEM(Shared, s);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; ++i) {
            mbarrier_init(&s.full[i], 1);
            mbarrier_init(&s.empty[i], 8);  // four warps of each block
        }
        fence_mbarrier_init();
    }
    cluster_sync();  // the other block's barriers are there
    if (threadIdx.x == 0) load_rows(s, x, rounds);
    if (threadIdx.x >= 32) add_rows(s, y, rounds);
    cluster_sync();  // nobody signals into a block that has ended
}
K_EXPORT(multicast)
