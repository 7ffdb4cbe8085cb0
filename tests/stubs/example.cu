// scale: y = by * x, in one element per thread; what tests of the stub generator read.
//   launch  grid (count / THREADS), THREADS threads
//   bound   HBM
//   math    f32
//   error   1 ulp
#include "dialect.cuh"

constexpr int THREADS = 256;

K_KERNEL(THREADS, 1) scale_bf16(bf16* y, const __grid_constant__ CUtensorMap map_x, const GemmTile* tiles,
                                long long count, int rows, float by) {
}
K_EXPORT(scale_bf16)

K_KERNEL_CLUSTER(2 * THREADS, 1, 2) scale_e4m3(e4m3* y, const float* x) {
}
K_EXPORT(scale_e4m3)

template <int N, class Out>
DEVICE void fill(Out* y, const float* x, RowScales scales, int rows, int pitch) {
}
K_INSTANTIATE(THREADS, 1, 5, fill_bf16, fill<1, bf16>)
K_INSTANTIATE(THREADS, 1, 5, fill_e4m3, fill<1, e4m3>)
K_INSTANTIATE(2 * THREADS, 1, 5, fill_wide_f32, fill<2, float>)
