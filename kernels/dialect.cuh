// The dialect of kernels for every architecture: declarations of entry points and shared memory, and number types.
// Instructions of some architectures are in the folder that is compiled for them, as sm90/instructions.cuh. Every
// function that stands for an instruction has two bodies: inline PTX for nvcc, and a call into the emulator of
// tests/emulate for a host compiler. Kernels include this header and no header of CUDA's.
//
// Rules of the dialect, which both compilers rely on:
//   - a kernel is K_KERNEL(threads, min_blocks) name(args) {...}, and behind it K_EXPORT(name), or one line that makes
//     it of a template: K_INSTANTIATE(threads, min_blocks, count, name, template<types>), count its parameters,
//     and K_INSTANTIATE_MAPS or _CLUSTER if there are tensor maps among these
//   - shared memory is K_DYN_SMEM or K_SMEM, never a bare __shared__
//   - tensor maps are parameters: const __grid_constant__ CUtensorMap
//   - waiting is done by the functions here, never by reading memory in a loop
//   - warp collectives name their lanes, and nothing relies on lanes running in lockstep
//   - where both compilers must agree bit for bit, write fmaf: only nvcc contracts a * b + c
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

// The type of parameter I of a function; where that takes a reference to a constant, the kernel has it by value. A
// kernel with a name of its own cannot have a parameter list from a type, so that each K_INSTANTIATE says how long it is.
template <int I, class F>
struct KParameter;
template <class P, class... Rest>
struct KParameter<0, void(P, Rest...)> {
    using type = P;
};
template <class P, class... Rest>
struct KParameter<0, void(const P&, Rest...)> {
    using type = P;
};
template <int I, class P, class... Rest>
struct KParameter<I, void(P, Rest...)> : KParameter<I - 1, void(Rest...)> {};

#define K_P(i, qualifiers, ...) qualifiers KParameter<i, decltype(__VA_ARGS__)>::type p##i
#define K_PARAMETERS_5(q, ...)                                                     \
    K_P(0, q, __VA_ARGS__), K_P(1, q, __VA_ARGS__), K_P(2, q, __VA_ARGS__), \
        K_P(3, q, __VA_ARGS__), K_P(4, q, __VA_ARGS__)
#define K_PARAMETERS_6(q, ...) K_PARAMETERS_5(q, __VA_ARGS__), K_P(5, q, __VA_ARGS__)
#define K_PARAMETERS_7(q, ...) K_PARAMETERS_6(q, __VA_ARGS__), K_P(6, q, __VA_ARGS__)
#define K_PARAMETERS_8(q, ...) K_PARAMETERS_7(q, __VA_ARGS__), K_P(7, q, __VA_ARGS__)
#define K_PARAMETERS_9(q, ...) K_PARAMETERS_8(q, __VA_ARGS__), K_P(8, q, __VA_ARGS__)
#define K_PARAMETERS_10(q, ...) K_PARAMETERS_9(q, __VA_ARGS__), K_P(9, q, __VA_ARGS__)
#define K_ARGUMENTS_5 p0, p1, p2, p3, p4
#define K_ARGUMENTS_6 K_ARGUMENTS_5, p5
#define K_ARGUMENTS_7 K_ARGUMENTS_6, p6
#define K_ARGUMENTS_8 K_ARGUMENTS_7, p7
#define K_ARGUMENTS_9 K_ARGUMENTS_8, p8
#define K_ARGUMENTS_10 K_ARGUMENTS_9, p9
#define K_BODY(count, name, qualifiers, ...)                 \
    name(K_PARAMETERS_##count(qualifiers, __VA_ARGS__)) { \
        __VA_ARGS__(K_ARGUMENTS_##count);                 \
    }
#define K_INSTANTIATE(threads, min_blocks, count, name, ...) \
    K_KERNEL(threads, min_blocks) K_BODY(count, name, , __VA_ARGS__)
#define K_INSTANTIATE_MAPS(threads, min_blocks, count, name, ...) \
    K_KERNEL(threads, min_blocks) K_BODY(count, name, const __grid_constant__, __VA_ARGS__)
#define K_INSTANTIATE_CLUSTER(threads, min_blocks, blocks, count, name, ...) \
    K_KERNEL_CLUSTER(threads, min_blocks, blocks)                            \
    K_BODY(count, name, const __grid_constant__, __VA_ARGS__)
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
#define K_INSTANTIATE(threads, min_blocks, count, name, ...)                                \
    extern "C" __attribute__((visibility("default"))) void emu_kernel_##name(void** args) { \
        emu::call(__VA_ARGS__, args);                                                       \
    }
#define K_INSTANTIATE_MAPS K_INSTANTIATE
#define K_INSTANTIATE_CLUSTER(threads, min_blocks, blocks, count, name, ...) \
    K_INSTANTIATE(threads, min_blocks, count, name, __VA_ARGS__)
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

// 8-bit float with 4 exponent and 3 mantissa bits: largest value 448, no infinity. Its conversions need sm_89.
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
