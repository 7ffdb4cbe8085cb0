// Shared memory, twice: as threads see it, and as the asynchronous engine (TMA and wgmma) sees it.
// What threads write reaches the engine's view at their fences only, so that a forgotten fence
// shows as a difference.
#include "machine.h"

namespace emu {

// Fences are carried out together, when the next one waits behind a barrier or a fencing thread
// goes on; seldom at once, so that a thread that forgets its fence among others that do not is
// found as well.
constexpr uint64_t FENCE_AT_ONCE = 16;

void prepare_memory(Block& block) {
    const uint32_t dynamic_end = SHARED_START + launch->how.shared_bytes;
    if (!block.memory) {
        const size_t bytes = SHARED_END + 1024;
        block.memory = static_cast<uint8_t*>(aligned_alloc(1024, bytes / 1024 * 1024));
        block.view = static_cast<uint8_t*>(aligned_alloc(1024, bytes / 1024 * 1024));
    }
    // What static pieces the block before had is poisoned as well.
    const uint32_t end = block.used > dynamic_end ? block.used : dynamic_end;
    memset(block.memory, POISON, end);
    memset(block.view, POISON, end);
    block.used = dynamic_end;
    block.fence_pending = false;
}

unsigned char* dynamic_shared() {
    return launch->current->block->memory + SHARED_START;
}

// The piece that the declaration `key` names; behind the dynamic part, the same for every thread of
// the block.
void* static_shared(const void* key, size_t bytes, size_t alignment) {
    Block& block = *launch->current->block;
    const auto [entry, is_first] = block.statics.try_emplace(key, 0);
    if (is_first) {
        const auto at = static_cast<uint32_t>((block.used + alignment - 1) / alignment * alignment);
        const auto end = static_cast<uint32_t>(at + bytes);
        if (end > SHARED_END)
            fail("%u bytes of shared memory, at most %u", end - SHARED_START, SHARED_LIMIT);
        memset(block.memory + block.used, POISON, end - block.used);
        memset(block.view + block.used, POISON, end - block.used);
        entry->second = at;
        block.used = end;
    }
    return block.memory + entry->second;
}

uint32_t shared_address(const void* p) {
    const Block& block = *launch->current->block;
    const auto offset = static_cast<const uint8_t*>(p) - block.memory;
    if (offset < SHARED_START || offset >= static_cast<std::ptrdiff_t>(block.used)) {
        fail("%p is not in shared memory", p);
    }
    return static_cast<uint32_t>(offset);
}

void fence_proxy_async() {
    step();
    Fiber& fiber = *launch->current;
    fiber.fence_pending = fiber.block->fence_pending = true;
    for (auto& [at, barrier] : fiber.block->mbarriers) barrier.published = true;
    if (launch->how.seed != 0 && random_below(FENCE_AT_ONCE) == 0) flush_fences(*fiber.block);
}

void flush_fences(Block& block) {
    if (!block.fence_pending) return;
    block.fence_pending = false;
    for (Fiber* fiber : block.threads) fiber->fence_pending = false;
    memcpy(block.view + SHARED_START, block.memory + SHARED_START, block.used - SHARED_START);
}

void check_range(const Block& block, uint64_t at, uint64_t bytes, const char* what) {
    if (at < SHARED_START || at + bytes > block.used) {
        fail("%s: bytes %#lx to %#lx are not in shared memory (%#x to %#x)", what,
             static_cast<unsigned long>(at), static_cast<unsigned long>(at + bytes), SHARED_START,
             block.used);
    }
}

void engine_read(Block& block, uint32_t at, void* to, uint32_t bytes, const char* who) {
    check_range(block, at, bytes, who);
    if (block.fence_pending) flush_fences(block);
    if (memcmp(block.memory + at, block.view + at, bytes) != 0) {
        fail(
            "%s reads shared memory at %#x of block %u, which threads have written without "
            "fence_proxy_async "
            "or while it was in use",
            who, at, block.rank);
    }
    memcpy(to, block.view + at, bytes);
}

void engine_write(Block& block, uint32_t at, const void* from, uint32_t bytes) {
    check_range(block, at, bytes, "TMA load");
    memcpy(block.memory + at, from, bytes);
    memcpy(block.view + at, from, bytes);
}

void engine_poison(Block& block, uint32_t at, uint32_t bytes) {
    check_range(block, at, bytes, "TMA load");
    memset(block.memory + at, POISON, bytes);
    memset(block.view + at, POISON, bytes);
}

}  // namespace emu
