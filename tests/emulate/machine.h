// The emulated machine: threads as fibers, blocks with their shared memory, and the asynchronous
// engine. One launch runs on one thread of the host; everything belongs to `launch`, which is
// thread_local.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "emu.h"

extern "C" {
// When the asynchronous engine works: only when nothing else can; at once; now and then.
enum EmuPolicy { EMU_LAZY = 0, EMU_EAGER = 1, EMU_RANDOM = 2 };

struct EmuLaunch {
    uint32_t grid[3];
    uint32_t block;    // threads of a block, in one dimension
    uint32_t cluster;  // blocks of a cluster, along x
    uint32_t shared_bytes;
    uint32_t policy;
    uint32_t truncate;  // FP8 products summed as the hardware does: 13 fraction bits below the
                        // largest exponent
    uint64_t seed;      // 0: program order
};
}

namespace emu {

constexpr uint32_t SHARED_START = 1024;    // address 0 stays invalid
constexpr uint32_t SHARED_LIMIT = 232448;  // what a block can have, dynamic and static together
constexpr uint32_t SHARED_END = SHARED_START + SHARED_LIMIT;
constexpr int POISON = 0xff;  // a NaN in bf16, f32 and e4m3

struct Block;
struct Fiber;
struct Warpgroup;

using Waiters = std::vector<Fiber*>;

// What a thread waits for, for the report of a deadlock.
struct Wait {
    const char* what = nullptr;
    uint32_t at = 0, parity = 0;
};

// A group of stores of one thread; the last of a thread's groups is still open.
struct StoreGroup {
    int unread = 0, unwritten = 0;
};

// The accumulators of one warpgroup while wgmmas work on them; rows by columns.
struct Tile {
    int cols = 0;
    int holders = 0;  // threads that have not got their values back
    float values[64 * 256];
};

// A thread's accumulator registers that are in a tile.
struct Held {
    float* registers;
    Tile* tile;
    int cols;
    uint64_t last_product;
};

// What a thread's accumulator registers held when it got them back.
struct Seen {
    float* registers;
    int count;
    uint64_t hash, fences;
};

enum class State { READY, WAITING, DONE };

struct Fiber {
    void* stack_pointer = nullptr;
    uint64_t* stack_bottom = nullptr;
    Place place{};
    Block* block = nullptr;
    int thread = 0, warp = 0, lane = 0;
    State state = State::READY;
    Wait wait;
    bool fence_pending = false;
    uint64_t cluster_arrivals = 0;
    int registers = 0;  // 0 until it gives or takes some: as many as the compiler may use

    std::vector<StoreGroup> stores;
    Waiters store_waiters;

    uint64_t products = 0;            // issued
    std::vector<uint64_t> committed;  // number of products at each commit
    uint64_t fences = 0, fences_at_wait = 0;
    std::vector<Held> held;
    std::vector<Seen> seen;
};

struct Mbarrier {
    int64_t arrivals = 0, pending = 0, bytes = 0;
    uint64_t phase = 0;
    bool published = false;  // to the asynchronous engine
    Waiters waiters;
};

struct NamedBarrier {
    int expected = 0, arrived = 0;
    uint64_t generation = 0;
    Waiters waiters;
};

// A meeting of the lanes of `mask`. Each brings five words; the last does the common work on
// `brought` and publishes `result`, which stays until the next meeting is complete.
struct Meeting {
    uint32_t mask = 0, arrived = 0;
    int kind = 0;
    uint64_t generation = 0;
    uint32_t brought[32][5], result[32][5];
    Waiters waiters;
};

struct Warp {
    uint32_t exited = 0;
    bool sleepy = false;           // runs late
    std::deque<Meeting> meetings;  // one per mask ever used; references stay valid
};

// One wgmma, complete when 128 threads have brought their parts.
struct Product {
    Type type{};
    int cols = 0, arrived = 0;
    uint64_t a = 0, b = 0, group = 0;
    bool a_in_registers = false, a_transposed = false, b_transposed = false, accumulate = false;
    Tile* tile = nullptr;
    bool tile_is_fresh = false;  // the values come from registers, not from the wgmma before
    uint8_t a_bytes[64][32];
};

struct Warpgroup {
    Block* block = nullptr;
    std::deque<Product> open;  // issued and not executed, in order
    uint64_t done = 0;         // executed; number of the first in `open`
    std::vector<std::unique_ptr<Tile>> tiles;
    Waiters waiters;
};

struct Block {
    uint32_t rank = 0;
    uint8_t* memory = nullptr;  // as threads see it
    uint8_t* view = nullptr;    // as the asynchronous engine sees it
    uint32_t used = 0;
    bool fence_pending = false;
    int alive = 0, loads = 0;  // threads; loads on their way
    int free_registers = 0;    // given back by threads and not taken
    Waiters register_waiters;
    std::vector<Fiber*> threads;
    std::vector<Warp> warps;
    std::vector<Warpgroup> warpgroups;
    NamedBarrier barriers[16];
    std::unordered_map<uint32_t, Mbarrier> mbarriers;
    std::unordered_map<const void*, uint32_t> statics;
};

struct Launch {
    EmuLaunch how{};
    void (*kernel)(void**) = nullptr;
    void** args = nullptr;
    uint64_t random_state = 0;
    bool jitter = false;  // threads change at every instruction
    bool sleepy = false;  // some warps, or one block of a cluster, run late
    std::string error;
    void* scheduler = nullptr;  // its stack pointer while a fiber runs
    Fiber* current = nullptr;
    int alive = 0;
    std::deque<Fiber*> ready;
    std::vector<std::function<void()>> engine;  // what the asynchronous engine still has to do
    std::deque<Fiber> fibers;
    std::deque<Block> blocks;  // of the running cluster
    uint64_t cluster_generation = 0;
    int cluster_missing = 0;
    Waiters cluster_waiters;
};
extern thread_local Launch* launch;

struct Failure {};

// Ends the launch with a message that names the running thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// fiber.cc
extern "C" void emu_switch(void** save, void* load);
void* prepare_stack(uint8_t* top);

// schedule.cc
uint64_t random_below(uint64_t bound);
void wait_in(Waiters& waiters, Wait wait);
void wake(Waiters& waiters);
void enqueue(std::function<void()> work);
void run_grid(uint8_t* stacks, size_t stack_bytes);
[[noreturn]] void fiber_main();

// memory.cc
void prepare_memory(Block& block);
void flush_fences(Block& block);
void check_range(const Block& block, uint64_t at, uint64_t bytes, const char* what);
void engine_read(Block& block, uint32_t at, void* to, uint32_t bytes, const char* who);
void engine_write(Block& block, uint32_t at, const void* from, uint32_t bytes);
void engine_poison(Block& block, uint32_t at, uint32_t bytes);

// barrier.cc
Mbarrier& mbarrier_at(Block& block, uint32_t at);
void mbarrier_complete(Block& block, uint32_t at, uint32_t bytes);
void leave_cluster_barrier(Fiber& fiber);
std::string describe_mbarriers(const Block& block);
void check_barriers_at_end(const Block& block);

// collective.cc
void leave_warp(Fiber& fiber);

// tma.cc, wgmma.cc
void check_stores_at_exit(const Fiber& fiber);
void check_products_at_exit(const Fiber& fiber);

// Address bits after a swizzle of `span` bytes (128, 64, 32; 16 for none).
inline uint32_t swizzled(uint32_t at, uint32_t span) {
    return at ^ ((at >> 7 & (span / 16 - 1)) << 4);
}

}  // namespace emu
