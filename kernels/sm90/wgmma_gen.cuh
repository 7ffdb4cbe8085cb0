// wgmma: D (+)= A B of 64 rows, N columns and 32 bytes along K, f32 accumulators: one function per shape,
// type and source of A. Written by tools/wgmma_gen.sh; change it there.
//
// Thread t of the warpgroup holds in d[4j + q] row 16(t / 32) + (t % 32) / 4 + 8(q / 2), column
// 8j + 2(t % 4) + q % 2. A is a descriptor (see wgmma_descriptor) or four registers per thread; B is a descriptor.
// With `accumulate` 0 the old values of d do not count. TRANS_*: 0 K-major, 1 MN-major.
#pragma once

#include "instructions.cuh"

// clang-format off

#ifdef __CUDACC__
#define WGMMA_NAMES_4 \
    "{%0, %1, %2, %3}"
#define WGMMA_BOUND_4 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define WGMMA_NAMES_8 \
    "{%0, %1, %2, %3, %4, %5, %6, %7}"
#define WGMMA_BOUND_8 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define WGMMA_NAMES_16 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}"
#define WGMMA_BOUND_16 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define WGMMA_NAMES_32 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define WGMMA_BOUND_32 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define WGMMA_NAMES_48 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47}"
#define WGMMA_BOUND_48 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
    "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
    "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define WGMMA_NAMES_56 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55}"
#define WGMMA_BOUND_56 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
    "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
    "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
    "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define WGMMA_NAMES_64 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}"
#define WGMMA_BOUND_64 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
    "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
    "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
    "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
    "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define WGMMA_NAMES_96 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}"
#define WGMMA_BOUND_96 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
    "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
    "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
    "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
    "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
    "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), \
    "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), \
    "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), \
    "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define WGMMA_NAMES_128 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}"
#define WGMMA_BOUND_128 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), \
    "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), \
    "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), \
    "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), \
    "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), \
    "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), \
    "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
    "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), \
    "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), \
    "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), \
    "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), \
    "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), \
    "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), \
    "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), \
    "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
#endif

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n8k16_bf16(float (&d)[4], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %6, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 " WGMMA_NAMES_4
                 ", %4, %5, p, 1, 1, %7, %8;\n\t}"
                 : WGMMA_BOUND_4
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 8, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %9, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 " WGMMA_NAMES_4
                 ", {%4, %5, %6, %7}, %8, p, 1, 1, %10;\n\t}"
                 : WGMMA_BOUND_4
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 8, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n8k32_e4m3(float (&d)[4], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %6, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 " WGMMA_NAMES_4
                 ", %4, %5, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_4
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 8, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n8k32_e4m3(float (&d)[4], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %9, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 " WGMMA_NAMES_4
                 ", {%4, %5, %6, %7}, %8, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_4
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 8, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n16k16_bf16(float (&d)[8], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %10, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 " WGMMA_NAMES_8
                 ", %8, %9, p, 1, 1, %11, %12;\n\t}"
                 : WGMMA_BOUND_8
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 16, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n16k16_bf16(float (&d)[8], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %13, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 " WGMMA_NAMES_8
                 ", {%8, %9, %10, %11}, %12, p, 1, 1, %14;\n\t}"
                 : WGMMA_BOUND_8
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 16, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n16k32_e4m3(float (&d)[8], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %10, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n16k32.f32.e4m3.e4m3 " WGMMA_NAMES_8
                 ", %8, %9, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_8
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 16, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n16k32_e4m3(float (&d)[8], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %13, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n16k32.f32.e4m3.e4m3 " WGMMA_NAMES_8
                 ", {%8, %9, %10, %11}, %12, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_8
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 16, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n32k16_bf16(float (&d)[16], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %18, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " WGMMA_NAMES_16
                 ", %16, %17, p, 1, 1, %19, %20;\n\t}"
                 : WGMMA_BOUND_16
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 32, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n32k16_bf16(float (&d)[16], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %21, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " WGMMA_NAMES_16
                 ", {%16, %17, %18, %19}, %20, p, 1, 1, %22;\n\t}"
                 : WGMMA_BOUND_16
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 32, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n32k32_e4m3(float (&d)[16], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %18, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 " WGMMA_NAMES_16
                 ", %16, %17, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_16
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 32, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n32k32_e4m3(float (&d)[16], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %21, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n32k32.f32.e4m3.e4m3 " WGMMA_NAMES_16
                 ", {%16, %17, %18, %19}, %20, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_16
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 32, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n64k16_bf16(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %34, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " WGMMA_NAMES_32
                 ", %32, %33, p, 1, 1, %35, %36;\n\t}"
                 : WGMMA_BOUND_32
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 64, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n64k16_bf16(float (&d)[32], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %37, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " WGMMA_NAMES_32
                 ", {%32, %33, %34, %35}, %36, p, 1, 1, %38;\n\t}"
                 : WGMMA_BOUND_32
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 64, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n64k32_e4m3(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %34, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 " WGMMA_NAMES_32
                 ", %32, %33, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_32
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 64, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n64k32_e4m3(float (&d)[32], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %37, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 " WGMMA_NAMES_32
                 ", {%32, %33, %34, %35}, %36, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_32
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 64, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n96k16_bf16(float (&d)[48], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %50, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 " WGMMA_NAMES_48
                 ", %48, %49, p, 1, 1, %51, %52;\n\t}"
                 : WGMMA_BOUND_48
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 96, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n96k16_bf16(float (&d)[48], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %53, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 " WGMMA_NAMES_48
                 ", {%48, %49, %50, %51}, %52, p, 1, 1, %54;\n\t}"
                 : WGMMA_BOUND_48
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 96, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n96k32_e4m3(float (&d)[48], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %50, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n96k32.f32.e4m3.e4m3 " WGMMA_NAMES_48
                 ", %48, %49, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_48
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 96, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n96k32_e4m3(float (&d)[48], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %53, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n96k32.f32.e4m3.e4m3 " WGMMA_NAMES_48
                 ", {%48, %49, %50, %51}, %52, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_48
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 96, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n112k16_bf16(float (&d)[56], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %58, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n112k16.f32.bf16.bf16 " WGMMA_NAMES_56
                 ", %56, %57, p, 1, 1, %59, %60;\n\t}"
                 : WGMMA_BOUND_56
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 112, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n112k16_bf16(float (&d)[56], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %61, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n112k16.f32.bf16.bf16 " WGMMA_NAMES_56
                 ", {%56, %57, %58, %59}, %60, p, 1, 1, %62;\n\t}"
                 : WGMMA_BOUND_56
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 112, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n112k32_e4m3(float (&d)[56], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %58, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n112k32.f32.e4m3.e4m3 " WGMMA_NAMES_56
                 ", %56, %57, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_56
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 112, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n112k32_e4m3(float (&d)[56], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %61, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n112k32.f32.e4m3.e4m3 " WGMMA_NAMES_56
                 ", {%56, %57, %58, %59}, %60, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_56
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 112, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n128k16_bf16(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %66, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " WGMMA_NAMES_64
                 ", %64, %65, p, 1, 1, %67, %68;\n\t}"
                 : WGMMA_BOUND_64
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 128, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n128k16_bf16(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %69, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " WGMMA_NAMES_64
                 ", {%64, %65, %66, %67}, %68, p, 1, 1, %70;\n\t}"
                 : WGMMA_BOUND_64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 128, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n128k32_e4m3(float (&d)[64], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %66, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 " WGMMA_NAMES_64
                 ", %64, %65, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_64
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 128, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n128k32_e4m3(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %69, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 " WGMMA_NAMES_64
                 ", {%64, %65, %66, %67}, %68, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_64
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 128, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n192k16_bf16(float (&d)[96], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %98, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 " WGMMA_NAMES_96
                 ", %96, %97, p, 1, 1, %99, %100;\n\t}"
                 : WGMMA_BOUND_96
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 192, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n192k16_bf16(float (&d)[96], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %101, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 " WGMMA_NAMES_96
                 ", {%96, %97, %98, %99}, %100, p, 1, 1, %102;\n\t}"
                 : WGMMA_BOUND_96
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 192, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n192k32_e4m3(float (&d)[96], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %98, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n192k32.f32.e4m3.e4m3 " WGMMA_NAMES_96
                 ", %96, %97, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_96
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 192, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n192k32_e4m3(float (&d)[96], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %101, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n192k32.f32.e4m3.e4m3 " WGMMA_NAMES_96
                 ", {%96, %97, %98, %99}, %100, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_96
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 192, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}

template <int TRANS_A = 0, int TRANS_B = 0>
DEVICE void wgmma_m64n256k16_bf16(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %130, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 " WGMMA_NAMES_128
                 ", %128, %129, p, 1, 1, %131, %132;\n\t}"
                 : WGMMA_BOUND_128
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANS_A), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 256, emu::from_shared(a, TRANS_A), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

template <int TRANS_B = 0>
DEVICE void wgmma_m64n256k16_bf16(float (&d)[128], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %133, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 " WGMMA_NAMES_128
                 ", {%128, %129, %130, %131}, %132, p, 1, 1, %134;\n\t}"
                 : WGMMA_BOUND_128
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(TRANS_B));
#else
    emu::wgmma(emu::Type::BF16, d, 256, emu::from_registers(a), emu::from_shared(b, TRANS_B), accumulate);
#endif
}

DEVICE void wgmma_m64n256k32_e4m3(float (&d)[128], uint64_t a, uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %130, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 " WGMMA_NAMES_128
                 ", %128, %129, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_128
                 : "l"(a), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 256, emu::from_shared(a, 0), emu::from_shared(b, 0), accumulate);
#endif
}

DEVICE void wgmma_m64n256k32_e4m3(float (&d)[128], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#ifdef __CUDACC__
    asm volatile("{\n\t.reg .pred p;\n\tsetp.ne.b32 p, %133, 0;\n\t"
                 "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 " WGMMA_NAMES_128
                 ", {%128, %129, %130, %131}, %132, p, 1, 1;\n\t}"
                 : WGMMA_BOUND_128
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
#else
    emu::wgmma(emu::Type::E4M3, d, 256, emu::from_registers(a), emu::from_shared(b, 0), accumulate);
#endif
}
