// The C interface: one launch of one kernel, from its entry to its end or to the first mistake.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "machine.h"

// Runs `kernel`, which K_EXPORT made, with an argument array as the driver takes it. 0, or 1 and a
// message in `error`.
extern "C" __attribute__((visibility("default"))) int emu_launch(void (*kernel)(void**),
                                                                 const EmuLaunch* how, void** args,
                                                                 char* error, size_t error_bytes) {
    constexpr size_t STACK_BYTES = 64 * 1024;
    const size_t threads = size_t{how->block} * how->cluster;
    const bool sizes_fit = how->block >= 1 && how->block <= 1024 && how->cluster >= 1 &&
                           how->cluster <= 8 && how->grid[0] % how->cluster == 0 &&
                           how->shared_bytes <= emu::SHARED_LIMIT;
    if (!sizes_fit) {
        snprintf(error, error_bytes,
                 "%u threads in clusters of %u of %u blocks with %u bytes of shared memory",
                 how->block, how->cluster, how->grid[0], how->shared_bytes);
        return 1;
    }
    void* const stacks = mmap(nullptr, threads * STACK_BYTES, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        snprintf(error, error_bytes, "no memory for %zu stacks", threads);
        return 1;
    }
    emu::Launch launch;
    launch.how = *how;
    launch.kernel = kernel;
    launch.args = args;
    launch.random_state = how->seed * 0x9e3779b97f4a7c15 + 0x123456789;
    launch.jitter = how->seed % 3 == 1;
    launch.sleepy = how->seed % 3 == 2;
    emu::launch = &launch;
    try {
        emu::run_grid(static_cast<uint8_t*>(stacks), STACK_BYTES);
    } catch (const emu::Failure&) {
        snprintf(error, error_bytes, "%s", launch.error.c_str());
    }
    for (emu::Block& block : launch.blocks) {
        free(block.memory);
        free(block.view);
    }
    munmap(stacks, threads * STACK_BYTES);
    emu::launch = nullptr;
    return launch.error.empty() ? 0 : 1;
}
