// gemm: p[r, :] = x[r, :] w[g n : (g + 1) n, :]^T,  one block of n weight rows per group g of rows
//       y = p;  swiglu7: y[r, j] = swiglu7(p[r, 2 j], p[r, 2 j + 1]);  gelu7: y = gelu7(p);
//       add: y = z + p                                                 (see activation.cu)
//
//   x       [m, k] bf16, box TILE_K x TILE_M, 128-byte swizzle
//   w       [groups * n, k] bf16, box TILE_K x SHARE_N, 128-byte swizzle
//   y       [m, n] bf16 or f32, for swiglu7 [m, n / 2] bf16, for add f32; rows y_pitch elements
//           apart, 8-byte aligned, y_pitch even
//   y_map   the same where y is bf16, box 64 x 64, 128-byte swizzle
//   z       [m, n] f32, rows z_pitch elements apart, 8-byte aligned, z_pitch even; may be y
//   tiles   [num_tiles]: first row, end of the group's rows, first column of p, its weight row;
//           each is made of 2 TILE_M rows and TILE_N columns by the two blocks of a cluster
//
// Any m, n, k, but for swiglu7 n even. Row pitches of x, w and y_map are multiples of 16 bytes. How
// the tiles are made and stored is written in gemm.cuh.
//
//   launch  grid (even, at most one block per SM), clusters of 2, block THREADS, dynamic shared
//           memory SMEM_BYTES
//   bound   tensor cores: 2 m n k FLOP at 4096 per SM and clock
//   math    bf16 products, f32 sums; p is rounded to bf16 once, even if it is not stored; the
//           epilogue is computed in f32 and rounded at the store
//   error   p within twice the rounding of p to bf16; f32: that of k additions in f32; y as
//           activation.cu and combine.cu make it of p

#include "gemm.cuh"

struct Bf16 {
    static constexpr int TILE_K = SPAN / 2;

    // One warpgroup: acc = its 64 rows of x times w^T, from the stages that the producers fill.
    DEVICE static void multiply(Shared& s, Place& at, int warpgroup, int k, float (&acc)[ACC]) {
        int before = -1;
        wgmma_pin(acc);
        for (int col = 0; col < k; col += TILE_K) {
            mbarrier_wait(&s.full[at.stage], at.parity);
            const uint64_t x = x_of(s, at.stage, warpgroup), w = w_of(s, at.stage, 0);
            wgmma_fence();
            UNROLL
            for (int i = 0; i < TILE_K / 16; ++i) {
                // 16 columns are 32 bytes, two units of a descriptor's address.
                wgmma_m64n256k16_bf16(acc, x + 2 * i, w + 2 * i, col + i);
            }
            wgmma_commit();
            wgmma_wait<1>();
            if (before >= 0) release(s, before);
            before = at.stage;
            at.advance();
        }
        wgmma_wait<0>();
        wgmma_pin(acc);
        release(s, before);
    }

    template <int COUNT>
    DEVICE void scale(const Part&, int, float*) const {}
};

template <Act ACT>
DEVICE void stored(bf16* y, const CUtensorMap& y_map, const CUtensorMap& x_map,
                   const CUtensorMap& w_map, const GemmTile* tiles, GemmShape shape) {
    gemm(x_map, w_map, Walk::of(tiles, shape), Bf16{},
         Stored<bf16, ACT>{y, &y_map, shape.m, shape.n, shape.y_pitch, 1.0f});
}

K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 6, gemm_bf16, stored<Act::NONE>)
K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 6, gemm_bf16_swiglu7, stored<Act::SWIGLU7>)
K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 6, gemm_bf16_gelu7, stored<Act::GELU7>)

K_KERNEL_CLUSTER(THREADS, 1, CLUSTER)
gemm_bf16_f32(float* y, const __grid_constant__ CUtensorMap x_map,
              const __grid_constant__ CUtensorMap w_map, const GemmTile* tiles, GemmShape shape) {
    gemm(x_map, w_map, Walk::of(tiles, shape), Bf16{},
         Stored<float, Act::NONE>{y, nullptr, 0, shape.n, shape.y_pitch, 1.0f});
}
K_EXPORT(gemm_bf16_f32)

K_KERNEL_CLUSTER(THREADS, 1, CLUSTER)
gemm_bf16_add(float* y, const float* z, const __grid_constant__ CUtensorMap x_map,
              const __grid_constant__ CUtensorMap w_map, const GemmTile* tiles, GemmShape shape) {
    gemm(x_map, w_map, Walk::of(tiles, shape), Bf16{},
         Added{y, z, shape.n, shape.y_pitch, shape.z_pitch});
}
K_EXPORT(gemm_bf16_add)
