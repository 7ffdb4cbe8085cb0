// CUDA's words for a host compiler, and what the emulator offers to kernels/dialect.cuh and the instructions. Kernels see
// no more of the emulator than this; its own parts are in machine.h.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __builtin_assume(condition) ((void)0)

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

struct CUtensorMap;

namespace emu {

struct Index {
    unsigned x, y, z;
};

// Where the running thread is.
struct Place {
    Index thread, block, block_dim, grid_dim;
    unsigned cluster_rank;
};
const Place& place();

// Unpacks an argument array as the driver's launch takes it: one pointer per parameter.
template <class... P, size_t... I>
void call_with(void (*kernel)(P...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<P>*>(args[I])...);
}
template <class... P>
void call(void (*kernel)(P...), void** args) {
    call_with(kernel, args, std::index_sequence_for<P...>{});
}

// Memory.
unsigned char* dynamic_shared();
void* static_shared(const void* key, size_t bytes, size_t alignment);
uint32_t shared_address(const void* p);
void fence_proxy_async();

// Every emulated instruction passes here; in some runs it lets other threads run first.
void step();

// Barriers.
void named_barrier(int id, int threads, bool wait);
void sync_threads();
void cluster_sync();
void mbarrier_init(uint64_t* bar, uint32_t arrivals);
void fence_mbarrier_init();
void mbarrier_arrive(uint64_t* bar, uint32_t bytes);
void mbarrier_arrive_cluster(uint64_t* bar, uint32_t rank);
void mbarrier_wait(uint64_t* bar, uint32_t parity);

// Registers: this thread's number becomes `count`; more have to be given back by others of its block.
void give_registers(int count);
void take_registers(int count);

// Warp collectives.
enum class Shuffle { INDEX, XOR, DOWN, UP };
uint32_t shuffle(uint32_t mask, uint32_t value, int lane, Shuffle how, int width);
uint32_t ballot(uint32_t mask, bool value);
void sync_warp(uint32_t mask);
void stmatrix_x4(void* row, const uint32_t* r, bool transposed);
void ldmatrix_x4(uint32_t* r, const void* row, bool transposed);

// TMA.
void check_map(const CUtensorMap* map);
void tma_load(void* to, const CUtensorMap* map, uint64_t* bar, const int* at, int rank,
              uint32_t blocks);
void tma_store(const CUtensorMap* map, const void* from, const int* at, int rank);
void bulk_commit();
void bulk_wait(size_t left, bool only_read);

// wgmma.
enum class Type { BF16, E4M3 };
struct Operand {
    const uint32_t* registers;  // four, or null: then `descriptor` counts
    uint64_t descriptor;
    bool transposed;
};
inline Operand from_shared(uint64_t descriptor, bool transposed) {
    return {nullptr, descriptor, transposed};
}
inline Operand from_registers(const uint32_t* registers) {
    return {registers, 0, false};
}
void wgmma(Type type, float* d, int n, Operand a, Operand b, bool accumulate);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(uint64_t left);

// Numbers.
inline float bits_to_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
inline uint32_t float_to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline uint16_t to_bf16(float x) {
    const uint32_t bits = float_to_bits(x);
    if (x != x) return 0x7fff;
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
float from_e4m3(uint8_t bits);
uint8_t to_e4m3(float x);
inline float exp2(float x) {
    const float y = exp2f(x);
    return fabsf(y) < 0x1p-126f ? 0.0f : y;
}
inline float rsqrt(float x) {
    return 1.0f / sqrtf(x);
}

template <class T>
T shuffle_as(uint32_t mask, T value, int lane, Shuffle how, int width) {
    static_assert(sizeof(T) == 4, "shuffles move 32 bits");
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = shuffle(mask, bits, lane, how, width);
    memcpy(&value, &bits, sizeof bits);
    return value;
}

}  // namespace emu

#define threadIdx (emu::place().thread)
#define blockIdx (emu::place().block)
#define blockDim (emu::place().block_dim)
#define gridDim (emu::place().grid_dim)

template <class T>
T __shfl_sync(uint32_t mask, T value, int lane, int width = 32) {
    return emu::shuffle_as(mask, value, lane, emu::Shuffle::INDEX, width);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lane, int width = 32) {
    return emu::shuffle_as(mask, value, lane, emu::Shuffle::XOR, width);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, int lane, int width = 32) {
    return emu::shuffle_as(mask, value, lane, emu::Shuffle::DOWN, width);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, int lane, int width = 32) {
    return emu::shuffle_as(mask, value, lane, emu::Shuffle::UP, width);
}
inline uint32_t __ballot_sync(uint32_t mask, int value) {
    return emu::ballot(mask, value != 0);
}
inline int __any_sync(uint32_t mask, int value) {
    return emu::ballot(mask, value != 0) != 0;
}
inline int __all_sync(uint32_t mask, int value) {
    return emu::ballot(mask, value == 0) == 0;
}
inline void __syncwarp(uint32_t mask = 0xffffffff) {
    emu::sync_warp(mask);
}
inline void __syncthreads() {
    emu::sync_threads();
}
inline float rsqrtf(float x) {
    return emu::rsqrt(x);
}

// Blocks and threads run on one thread of the host, so that a plain addition is atomic.
template <class T>
T atomicAdd(T* p, T value) {
    emu::step();
    const T before = *p;
    *p = before + value;
    return before;
}
