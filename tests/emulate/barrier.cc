// What threads wait for: barriers, named ones of a block, that of a cluster, and mbarriers; and
// registers. An mbarrier's state is kept aside; its eight bytes in shared memory hold a tag, so that
// one that was overwritten or never initialised is recognised.
#include <algorithm>
#include <cstdio>

#include "machine.h"

namespace emu {

void named_barrier(int id, int threads, bool wait) {
    step();
    Block& block = *launch->current->block;
    if (id < 0 || id > 15) fail("barrier %d: there are 0 to 15", id);
    if (threads <= 0 || threads > static_cast<int>(launch->how.block) ||
        (threads % 32 != 0 && threads != static_cast<int>(launch->how.block))) {
        fail("barrier %d of %d threads in a block of %u", id, threads, launch->how.block);
    }
    NamedBarrier& barrier = block.barriers[id];
    if (barrier.arrived == 0) barrier.expected = threads;
    if (barrier.expected != threads) {
        fail("barrier %d: %d threads expected, others expect %d", id, threads, barrier.expected);
    }
    if (++barrier.arrived == barrier.expected) {
        barrier.arrived = 0;
        ++barrier.generation;
        flush_fences(block);
        wake(barrier.waiters);
    } else if (wait) {
        const uint64_t generation = barrier.generation;
        while (generation == barrier.generation) {
            wait_in(barrier.waiters, {"named barrier", static_cast<uint32_t>(id), 0});
        }
    }
}

void sync_threads() {
    named_barrier(0, static_cast<int>(launch->how.block), true);
}

// One thread fewer is awaited; the last opens the barrier for all that are left.
static void arrive_at_cluster() {
    if (--launch->cluster_missing > 0) return;
    ++launch->cluster_generation;
    launch->cluster_missing = launch->alive;
    for (Block& block : launch->blocks) flush_fences(block);
    wake(launch->cluster_waiters);
}

void cluster_sync() {
    step();
    const uint64_t generation = launch->cluster_generation;
    launch->current->cluster_arrivals = generation + 1;
    arrive_at_cluster();
    while (generation == launch->cluster_generation)
        wait_in(launch->cluster_waiters, {"the cluster", 0, 0});
}

// A thread that ends is no longer awaited.
void leave_cluster_barrier(Fiber& fiber) {
    if (fiber.cluster_arrivals <= launch->cluster_generation) arrive_at_cluster();
}

// How many registers the running thread has. A block gets what the compiler may use, as many for
// each thread and a multiple of 8: what is left of 65536 belongs to no block.
static int& registers_of(Fiber& fiber) {
    if (fiber.registers == 0) {
        fiber.registers = std::min(65536 / static_cast<int>(launch->how.block) / 8 * 8, 255);
    }
    return fiber.registers;
}

void give_registers(int count) {
    step();
    Block& block = *launch->current->block;
    int& registers = registers_of(*launch->current);
    if (count > registers) fail("gives registers back to have %d, and has %d", count, registers);
    block.free_registers += registers - count;
    registers = count;
    wake(block.register_waiters);
}

void take_registers(int count) {
    step();
    Block& block = *launch->current->block;
    int& registers = registers_of(*launch->current);
    if (count < registers) fail("takes registers to have %d, and has %d", count, registers);
    while (block.free_registers < count - registers) {
        wait_in(block.register_waiters, {"registers", static_cast<uint32_t>(count), 0});
    }
    block.free_registers -= count - registers;
    registers = count;
}

static uint64_t tag_of(uint32_t at) {
    return 0x6d62617272000000 + at;
}

void mbarrier_init(uint64_t* bar, uint32_t arrivals) {
    step();
    const uint32_t at = shared_address(bar);
    Block& block = *launch->current->block;
    if (at % 8 != 0) fail("mbarrier at %#x is not aligned to 8 bytes", at);
    if (arrivals == 0 || arrivals > 0xfffff) fail("mbarrier %#x: %u arrivals", at, arrivals);
    if (block.mbarriers.count(at) != 0) fail("mbarrier %#x is initialised twice", at);
    const uint64_t tag = tag_of(at);
    memcpy(block.memory + at, &tag, sizeof tag);
    memcpy(block.view + at, &tag, sizeof tag);
    Mbarrier& barrier = block.mbarriers[at];
    barrier.arrivals = barrier.pending = arrivals;
}

void fence_mbarrier_init() {
    step();
    for (auto& [at, barrier] : launch->current->block->mbarriers) barrier.published = true;
}

Mbarrier& mbarrier_at(Block& block, uint32_t at) {
    const auto entry = block.mbarriers.find(at);
    if (entry == block.mbarriers.end())
        fail("mbarrier %#x of block %u is not initialised", at, block.rank);
    const uint64_t tag = tag_of(at);
    if (memcmp(block.memory + at, &tag, sizeof tag) != 0) fail("mbarrier %#x was overwritten", at);
    return entry->second;
}

static void end_phase_if_complete(Block& block, Mbarrier& barrier) {
    if (barrier.pending != 0 || barrier.bytes != 0) return;
    ++barrier.phase;
    barrier.pending = barrier.arrivals;
    flush_fences(block);
    wake(barrier.waiters);
}

static void arrive(Block& block, uint32_t at, uint32_t bytes) {
    if (block.alive == 0) fail("mbarrier %#x of block %u, which has ended", at, block.rank);
    Mbarrier& barrier = mbarrier_at(block, at);
    barrier.bytes += bytes;
    if (--barrier.pending < 0) {
        fail("mbarrier %#x: more than its %ld arrivals in one phase", at,
             static_cast<long>(barrier.arrivals));
    }
    end_phase_if_complete(block, barrier);
}

void mbarrier_arrive(uint64_t* bar, uint32_t bytes) {
    step();
    arrive(*launch->current->block, shared_address(bar), bytes);
}

void mbarrier_arrive_cluster(uint64_t* bar, uint32_t rank) {
    step();
    if (rank >= launch->how.cluster) fail("block %u of a cluster of %u", rank, launch->how.cluster);
    arrive(launch->blocks[rank], shared_address(bar), 0);
}

// Bytes of a load have come.
void mbarrier_complete(Block& block, uint32_t at, uint32_t bytes) {
    Mbarrier& barrier = mbarrier_at(block, at);
    barrier.bytes -= bytes;
    end_phase_if_complete(block, barrier);
}

void mbarrier_wait(uint64_t* bar, uint32_t parity) {
    step();
    const uint32_t at = shared_address(bar);
    Block& block = *launch->current->block;
    if (parity > 1) fail("mbarrier %#x: parity %u", at, parity);
    while ((mbarrier_at(block, at).phase & 1) == parity) {
        wait_in(mbarrier_at(block, at).waiters, {"mbarrier", at, parity});
    }
}

std::string describe_mbarriers(const Block& block) {
    std::string text;
    char line[160];
    for (const auto& [at, barrier] : block.mbarriers) {
        if (barrier.pending == barrier.arrivals && barrier.bytes == 0 && barrier.waiters.empty())
            continue;
        snprintf(
            line, sizeof line,
            "  block rank %u mbarrier %#x: phase %lu, %ld of %ld arrivals and %ld bytes missing\n",
            block.rank, at, static_cast<unsigned long>(barrier.phase),
            static_cast<long>(barrier.pending), static_cast<long>(barrier.arrivals),
            static_cast<long>(barrier.bytes));
        text += line;
    }
    return text;
}

void check_barriers_at_end(const Block& block) {
    for (const auto& [at, barrier] : block.mbarriers) {
        if (barrier.bytes != 0) {
            fail("mbarrier %#x of block %u ends with %ld bytes missing", at, block.rank,
                 static_cast<long>(barrier.bytes));
        }
    }
    for (int id = 0; id < 16; ++id) {
        const NamedBarrier& barrier = block.barriers[id];
        if (barrier.arrived != 0)
            fail("barrier %d ends with %d of %d arrivals", id, barrier.arrived, barrier.expected);
    }
}

}  // namespace emu
