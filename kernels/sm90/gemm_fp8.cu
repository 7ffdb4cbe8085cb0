// gemm: p[r, :] = s[r] ws[g n : (g + 1) n] (x[r, :] w[g n : (g + 1) n, :]^T),
//       one block of n weight rows per group g of rows
//       y = p;  swiglu7: y[r, j] = swiglu7(p[r, 2 j], p[r, 2 j + 1]);  gelu7: y = gelu7(p);
//       swiglu7_e4m3, gelu7_e4m3: the same in bf16 times f;  add: y = z + p   (see activation.cu)
//
//   x       [m, k] e4m3, box TILE_K x TILE_M, 128-byte swizzle
//   w       [groups * n, k] e4m3, box TILE_K x SHARE_N, 128-byte swizzle
//   s       [m] f32, s_step elements apart; or null: scale for all rows
//   ws      [groups * n] f32
//   y       [m, n] bf16 or f32, for swiglu7 [m, n / 2]; after an activation bf16 or e4m3, for add
//           f32; rows y_pitch elements apart, 8-byte aligned, y_pitch even
//   y_map   the same where y is not f32, box 64 x 128 bytes, 128-byte swizzle
//   z       [m, n] f32, rows z_pitch elements apart, 8-byte aligned, z_pitch even; may be y
//   tiles   [num_tiles]: first row, end of the group's rows, first column of p, its weight row;
//           each is made of 2 TILE_M rows and TILE_N columns by the two blocks of a cluster
//
// Any m, n, k, but for swiglu7 n even. Row pitches of x, w and y_map are multiples of 16 bytes. How
// the tiles are made and stored is written in gemm.cuh.
//
// The tensor cores are reported to keep only some 13 bits of the sums of FP8 products. So they sum
// only TILE_K columns, and these partial sums are promoted to f32 registers: 128 columns at a time,
// since both sums of all 256 do not fit in the registers.
//
//   launch  grid (even, at most one block per SM), clusters of 2, block THREADS, dynamic shared
//           memory SMEM_BYTES
//   bound   tensor cores: 2 m n k FLOP at 8192 per SM and clock
//   math    e4m3 products, f32 sums; p is rounded to bf16 once, even if it is not stored; the
//           epilogue is computed in f32 and rounded at the store, for e4m3 to bf16 before
//   error   p within twice the rounding of p to bf16, as long as the sums of TILE_K products are
//           good to 13 bits; f32: that, and k / TILE_K additions in f32; y as activation.cu and
//           combine.cu make it of p

#include "gemm.cuh"

struct Fp8 {
    static constexpr int TILE_K = SPAN;

    const float* s;
    int s_step;
    float all;  // the scale of every row where s is null
    const float* ws;

    // One warpgroup: acc = its 64 rows of x times w^T, from the stages that the producers fill.
    DEVICE static void multiply(Shared& shared, Place& at, int warpgroup, int k,
                                float (&acc)[ACC]) {
        UNROLL
        for (float& a : acc) a = 0.0f;
        for (int col = 0; col < k; col += TILE_K) {
            mbarrier_wait(&shared.full[at.stage], at.parity);
            const uint64_t x = x_of(shared, at.stage, warpgroup);
            UNROLL
            for (int half = 0; half < 2; ++half) {
                const uint64_t w = w_of(shared, at.stage, half * TILE_N / 2);
                float part[ACC / 2];
                wgmma_pin(part);
                wgmma_fence();
                UNROLL
                for (int i = 0; i < TILE_K / 32; ++i) {
                    // 32 columns are 32 bytes, two units of a descriptor's address.
                    wgmma_m64n128k32_e4m3(part, x + 2 * i, w + 2 * i, i);
                }
                wgmma_commit();
                wgmma_wait<0>();
                wgmma_pin(part);
                if (half == 1) release(shared, at.stage);
                UNROLL
                for (int i = 0; i < ACC / 2; ++i) acc[half * ACC / 2 + i] += part[i];
            }
            at.advance();
        }
    }

    template <int COUNT>
    DEVICE void scale(const Part& part, int n, float* acc) const {
        float row_scale[2];
        UNROLL
        for (int half = 0; half < 2; ++half) {
            const int row = part.row + Part::thread_row() + 8 * half;
            row_scale[half] = s && row < part.end ? s[int64_t{row} * s_step] : all;
        }
        UNROLL
        for (int i = 0; i < COUNT; ++i) {
            if (i % 4 >= 2) continue;
            const int col = Part::thread_col() + 8 * (i / 4) + i % 4;
            const float col_scale = part.col + col < n ? ws[part.weight_row + col] : 0.0f;
            acc[i] *= row_scale[0] * col_scale;
            acc[i + 2] *= row_scale[1] * col_scale;
        }
    }
};

template <class Out, Act ACT>
DEVICE void stored(Out* y, const CUtensorMap& y_map, const CUtensorMap& x_map,
                   const CUtensorMap& w_map, const float* s, RowScales scales, const float* ws,
                   const GemmTile* tiles, GemmShape shape) {
    gemm(x_map, w_map, Walk::of(tiles, shape), Fp8{s, scales.step, scales.all, ws},
         Stored<Out, ACT>{y, &y_map, shape.m, shape.n, shape.y_pitch, shape.factor});
}

K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 9, gemm_fp8, stored<bf16, Act::NONE>)
K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 9, gemm_fp8_swiglu7, stored<bf16, Act::SWIGLU7>)
K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 9, gemm_fp8_gelu7, stored<bf16, Act::GELU7>)
K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 9, gemm_fp8_swiglu7_e4m3, stored<e4m3, Act::SWIGLU7>)
K_INSTANTIATE_CLUSTER(THREADS, 1, CLUSTER, 9, gemm_fp8_gelu7_e4m3, stored<e4m3, Act::GELU7>)

K_KERNEL_CLUSTER(THREADS, 1, CLUSTER)
gemm_fp8_f32(float* y, const __grid_constant__ CUtensorMap x_map,
             const __grid_constant__ CUtensorMap w_map, const float* s, RowScales scales,
             const float* ws, const GemmTile* tiles, GemmShape shape) {
    gemm(x_map, w_map, Walk::of(tiles, shape), Fp8{s, scales.step, scales.all, ws},
         Stored<float, Act::NONE>{y, nullptr, 0, shape.n, shape.y_pitch, 1.0f});
}
K_EXPORT(gemm_fp8_f32)

K_KERNEL_CLUSTER(THREADS, 1, CLUSTER)
gemm_fp8_add(float* y, const float* z, const __grid_constant__ CUtensorMap x_map,
             const __grid_constant__ CUtensorMap w_map, const float* s, RowScales scales,
             const float* ws, const GemmTile* tiles, GemmShape shape) {
    gemm(x_map, w_map, Walk::of(tiles, shape), Fp8{s, scales.step, scales.all, ws},
         Added{y, z, shape.n, shape.y_pitch, shape.z_pitch});
}
K_EXPORT(gemm_fp8_add)
