// scale: y = by * x, in one element per thread; what tests of the stub generator read.
//   launch  grid (count / THREADS), THREADS threads
//   bound   HBM
//   math    f32
//   error   1 ulp
#include "hopper.cuh"

constexpr int THREADS = 256;

K_KERNEL(THREADS, 1) scale_bf16(bf16* y, const __grid_constant__ CUtensorMap map_x, const GemmTile* tiles,
                                long long count, int rows, float by) {
}
K_EXPORT(scale_bf16)

K_KERNEL_CLUSTER(2 * THREADS, 1, 2) scale_e4m3(e4m3* y, const float* x) {
}
K_EXPORT(scale_e4m3)
