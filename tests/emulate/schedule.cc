// Who runs next: threads of one cluster of blocks, and between them the asynchronous engine.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "machine.h"

namespace emu {

thread_local Launch* launch = nullptr;

constexpr uint64_t STACK_MARK = 0x5374616b456e6421;

void fail(const char* format, ...) {
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    Fiber* const fiber = launch->current;
    char where[120] = "";
    if (fiber) {
        const Index block = fiber->place.block;
        snprintf(where, sizeof where, "block (%u, %u, %u) thread %d (warp %d, lane %d): ", block.x,
                 block.y, block.z, fiber->thread, fiber->warp, fiber->lane);
    }
    launch->error = std::string(where) + text;
    if (!fiber) throw Failure{};
    launch->current = nullptr;
    emu_switch(&fiber->stack_pointer, launch->scheduler);
    abort();  // a failed launch resumes nothing
}

const Place& place() {
    return launch->current->place;
}

// xorshift64*
uint64_t random_below(uint64_t bound) {
    uint64_t& x = launch->random_state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return (x * 0x2545f4914f6cdd1d >> 33) % bound;
}

static void to_scheduler() {
    Fiber* const fiber = launch->current;
    launch->current = nullptr;
    emu_switch(&fiber->stack_pointer, launch->scheduler);
}

void wait_in(Waiters& waiters, Wait wait) {
    Fiber* const fiber = launch->current;
    fiber->wait = wait;
    fiber->state = State::WAITING;
    waiters.push_back(fiber);
    to_scheduler();
}

void wake(Waiters& waiters) {
    for (Fiber* fiber : waiters) {
        fiber->state = State::READY;
        launch->ready.push_back(fiber);
    }
    waiters.clear();
}

void step() {
    Fiber* const fiber = launch->current;
    if (fiber->fence_pending) flush_fences(*fiber->block);
    if (launch->jitter && random_below(4) == 0) {
        launch->ready.push_back(fiber);
        to_scheduler();
    }
}

// Hands work to the asynchronous engine.
void enqueue(std::function<void()> work) {
    if (launch->how.policy == EMU_EAGER) {
        work();
    } else {
        launch->engine.push_back(std::move(work));
    }
}

// One piece of the engine's work: the oldest in program order, any in other runs.
static void work_once() {
    auto& engine = launch->engine;
    const size_t index = launch->how.seed == 0 ? 0 : random_below(engine.size());
    const auto work = std::move(engine[index]);
    engine.erase(engine.begin() + static_cast<std::ptrdiff_t>(index));
    work();
}

// In program order, or any that is ready; threads of a sleepy warp seldom before others.
static Fiber* next_ready() {
    constexpr int TRIES = 16;
    auto& ready = launch->ready;
    for (int i = 0; launch->how.seed != 0 && i < TRIES; ++i) {
        std::swap(ready.front(), ready[random_below(ready.size())]);
        const Fiber& found = *ready.front();
        if (!found.block->warps[static_cast<size_t>(found.warp)].sleepy) break;
    }
    Fiber* const fiber = ready.front();
    ready.pop_front();
    return fiber;
}

void fiber_main() {
    launch->kernel(launch->args);
    Fiber& fiber = *launch->current;
    Block& block = *fiber.block;
    if (fiber.fence_pending) flush_fences(block);
    check_products_at_exit(fiber);
    check_stores_at_exit(fiber);
    leave_warp(fiber);
    fiber.state = State::DONE;
    --launch->alive;
    if (--block.alive == 0 && block.loads != 0)
        fail("the block ends with %d loads on their way", block.loads);
    leave_cluster_barrier(fiber);
    to_scheduler();
    abort();  // a thread that is done is never resumed
}

// Each warp's lanes by what they wait for, and the mbarriers that are not at rest.
static std::string describe_deadlock() {
    std::string text = "deadlock: no thread can run and nothing is on its way\n";
    char line[200];
    for (const Block& block : launch->blocks) {
        const Index at = block.threads[0]->place.block;
        for (size_t first = 0; first < block.threads.size(); first += 32) {
            const size_t end = std::min(first + 32, block.threads.size());
            uint32_t told = 0;
            for (size_t i = first; i < end; ++i) {
                const Fiber& one = *block.threads[i];
                if (one.state == State::DONE || told >> (i - first) & 1) continue;
                uint32_t lanes = 0;
                for (size_t j = i; j < end; ++j) {
                    const Fiber& other = *block.threads[j];
                    const bool same =
                        other.state != State::DONE && other.wait.what == one.wait.what &&
                        other.wait.at == one.wait.at && other.wait.parity == one.wait.parity;
                    lanes |= uint32_t{same} << (j - first);
                }
                told |= lanes;
                snprintf(line, sizeof line,
                         "  block (%u, %u, %u) warp %zu lanes %08x wait for %s %#x parity %u\n",
                         at.x, at.y, at.z, first / 32, lanes, one.wait.what, one.wait.at,
                         one.wait.parity);
                text += line;
            }
        }
        text += describe_mbarriers(block);
    }
    return text;
}

static void prepare_cluster(Index first, uint8_t* stacks, size_t stack_bytes) {
    const EmuLaunch& how = launch->how;
    size_t next = 0;
    const uint64_t late_rank = random_below(how.cluster);
    for (uint32_t rank = 0; rank < how.cluster; ++rank) {
        Block& block = launch->blocks[rank];
        block.rank = rank;
        prepare_memory(block);
        block.threads.clear();
        block.warps.assign((how.block + 31) / 32, Warp{});
        for (Warp& warp : block.warps) {
            warp.sleepy =
                launch->sleepy && (how.cluster > 1 ? rank == late_rank : random_below(2) == 0);
        }
        block.warpgroups = std::vector<Warpgroup>((how.block + 127) / 128);
        for (Warpgroup& group : block.warpgroups) group.block = &block;
        for (NamedBarrier& barrier : block.barriers) barrier = NamedBarrier{};
        block.mbarriers.clear();
        block.statics.clear();
        block.alive = static_cast<int>(how.block);
        block.loads = 0;
        for (uint32_t thread = 0; thread < how.block; ++thread, ++next) {
            Fiber& fiber = launch->fibers[next];
            uint8_t* const stack = stacks + next * stack_bytes;
            fiber = Fiber{};
            fiber.stack_bottom = reinterpret_cast<uint64_t*>(stack);
            *fiber.stack_bottom = STACK_MARK;
            fiber.stack_pointer = prepare_stack(stack + stack_bytes);
            fiber.place = {{thread, 0, 0},
                           {first.x + rank, first.y, first.z},
                           {how.block, 1, 1},
                           {how.grid[0], how.grid[1], how.grid[2]},
                           rank};
            fiber.block = &block;
            fiber.thread = static_cast<int>(thread);
            fiber.warp = fiber.thread / 32;
            fiber.lane = fiber.thread % 32;
            fiber.stores.resize(1);
            block.threads.push_back(&fiber);
            launch->ready.push_back(&fiber);
        }
    }
    launch->alive = launch->cluster_missing = static_cast<int>(next);
    launch->cluster_generation = 0;
}

static void run_cluster() {
    while (launch->alive > 0) {
        if (!launch->engine.empty() && launch->how.policy == EMU_RANDOM && random_below(8) == 0)
            work_once();
        if (launch->ready.empty()) {
            if (launch->engine.empty()) {
                launch->error = describe_deadlock();
                throw Failure{};
            }
            work_once();
            continue;
        }
        Fiber* const fiber = next_ready();
        launch->current = fiber;
        emu_switch(&launch->scheduler, fiber->stack_pointer);
        if (!launch->error.empty()) throw Failure{};
        if (*fiber->stack_bottom != STACK_MARK) {
            launch->error = "a thread's stack overflowed";
            throw Failure{};
        }
    }
    while (!launch->engine.empty()) work_once();
    for (const Block& block : launch->blocks) check_barriers_at_end(block);
}

// One cluster after the other: in order, or in an order drawn from the seed.
void run_grid(uint8_t* stacks, size_t stack_bytes) {
    const EmuLaunch& how = launch->how;
    std::vector<Index> clusters;
    for (uint32_t z = 0; z < how.grid[2]; ++z)
        for (uint32_t y = 0; y < how.grid[1]; ++y)
            for (uint32_t x = 0; x < how.grid[0]; x += how.cluster) clusters.push_back({x, y, z});
    if (how.seed != 0)
        for (size_t i = clusters.size(); i > 1; --i)
            std::swap(clusters[i - 1], clusters[random_below(i)]);
    launch->blocks.resize(how.cluster);
    launch->fibers.resize(size_t{how.cluster} * how.block);
    for (const Index first : clusters) {
        prepare_cluster(first, stacks, stack_bytes);
        run_cluster();
    }
}

}  // namespace emu
