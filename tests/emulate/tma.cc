// TMA in tile mode. A load fills its destination with poison when it is issued and with data when
// the engine comes to it; a store reads shared memory and writes global memory at two later moments
// of the engine's choice.
#include <cstdio>

#include "machine.h"

extern "C" __attribute__((visibility("default"))) int emu_tensor_map(
    void* to, int type, uint32_t rank, void* base, const uint64_t* dims, const uint64_t* strides,
    const uint32_t* box, const uint32_t* element_strides, int interleave, int swizzle,
    int l2_promotion, int fill, char* error, size_t error_bytes);

namespace emu {

constexpr uint64_t MAP_TAG = 0x74656e736f726d70;

// What the emulator keeps in the 128 bytes of a tensor map. Dimensions beyond `rank` have extent 1.
struct Map {
    uint64_t tag;
    uint8_t* base;
    uint64_t dims[5];
    uint64_t strides[5];  // bytes; strides[0] is the element
    uint32_t box[5];
    uint16_t rank, span;  // span: bytes that a swizzle permutes; 16 without
};
static_assert(sizeof(Map) <= 128);

static const Map& map_at(const CUtensorMap* p) {
    const Map& map = *reinterpret_cast<const Map*>(p);
    if (reinterpret_cast<uintptr_t>(p) % 64 != 0 || map.tag != MAP_TAG)
        fail("%p is no tensor map", static_cast<const void*>(p));
    return map;
}

void check_map(const CUtensorMap* map) {
    map_at(map);
}

static uint32_t row_bytes(const Map& map) {
    return map.box[0] * static_cast<uint32_t>(map.strides[0]);
}

static uint32_t box_bytes(const Map& map) {
    uint32_t bytes = row_bytes(map);
    for (int d = 1; d < 5; ++d) bytes *= map.box[d];
    return bytes;
}

// Calls row(offset in the box, address in the tensor or null, bytes before the tensor, bytes
// inside) for each row of the box; the address is that of the first byte inside.
template <class Row>
static void each_row(const Map& map, const int (&at)[5], Row row) {
    const auto element = static_cast<int64_t>(map.strides[0]);
    const auto width = static_cast<int64_t>(map.box[0]), extent = static_cast<int64_t>(map.dims[0]);
    const int64_t first = at[0] < 0 ? -int64_t{at[0]} : 0;
    int64_t last = extent - at[0] < width ? extent - at[0] : width;
    uint32_t offset = 0;
    for (uint32_t e = 0; e < map.box[4]; ++e)
        for (uint32_t d = 0; d < map.box[3]; ++d)
            for (uint32_t c = 0; c < map.box[2]; ++c)
                for (uint32_t b = 0; b < map.box[1]; ++b, offset += row_bytes(map)) {
                    const int64_t place[5] = {at[0] + first, at[1] + int64_t{b}, at[2] + int64_t{c},
                                              at[3] + int64_t{d}, at[4] + int64_t{e}};
                    bool inside = first < last;
                    uint8_t* address = map.base;
                    for (int i = 0; i < 5; ++i) {
                        inside =
                            inside && place[i] >= 0 && place[i] < static_cast<int64_t>(map.dims[i]);
                        address += inside ? place[i] * static_cast<int64_t>(map.strides[i]) : 0;
                    }
                    row(offset, inside ? address : nullptr, static_cast<uint32_t>(first * element),
                        inside ? static_cast<uint32_t>((last - first) * element) : 0);
                }
}

static void fill_box(Block& block, uint32_t to, const Map& map, const int (&at)[5]) {
    const uint32_t bytes = row_bytes(map);
    uint8_t line[256 * 8];
    each_row(map, at, [&](uint32_t offset, const uint8_t* from, uint32_t before, uint32_t inside) {
        memset(line, 0, bytes);
        if (from) memcpy(line + before, from, inside);
        for (uint32_t i = 0; i < bytes; i += 16) {
            engine_write(block, swizzled(to + offset + i, map.span), line + i, 16);
        }
    });
}

static uint32_t checked_place(const void* p, const Map& map, int rank, const char* what) {
    const uint32_t place = shared_address(p);
    if (rank != map.rank) fail("%s: %d coordinates for a map of rank %d", what, rank, map.rank);
    if (place % 128 != 0) fail("%s: %#x in shared memory is not aligned to 128 bytes", what, place);
    check_range(*launch->current->block, place, box_bytes(map), what);
    return place;
}

struct Coordinates {
    int at[5] = {};
    Coordinates(const int* from, int rank) {
        for (int i = 0; i < rank; ++i) at[i] = from[i];
    }
};

void tma_load(void* to, const CUtensorMap* map_p, uint64_t* bar, const int* at, int rank,
              uint32_t blocks) {
    step();
    const Map map = map_at(map_p);
    const uint32_t place = checked_place(to, map, rank, "TMA load"), barrier = shared_address(bar);
    if (blocks == 0 || blocks >> launch->how.cluster != 0) {
        fail("TMA load to blocks %#x of a cluster of %u", blocks, launch->how.cluster);
    }
    const Coordinates coordinates(at, rank);
    for (uint32_t rank_to = 0; rank_to < launch->how.cluster; ++rank_to) {
        if ((blocks >> rank_to & 1) == 0) continue;
        Block& block = launch->blocks[rank_to];
        if (block.alive == 0) fail("TMA load to block %u, which has ended", rank_to);
        if (!mbarrier_at(block, barrier).published) {
            fail("TMA load on mbarrier %#x, initialised without fence_mbarrier_init", barrier);
        }
        flush_fences(block);
        engine_poison(block, place, box_bytes(map));
        ++block.loads;
        enqueue([&block, place, barrier, map, coordinates] {
            fill_box(block, place, map, coordinates.at);
            --block.loads;
            mbarrier_complete(block, barrier, box_bytes(map));
        });
    }
}

void tma_store(const CUtensorMap* map_p, const void* from, const int* at, int rank) {
    step();
    const Map map = map_at(map_p);
    const uint32_t place = checked_place(from, map, rank, "TMA store");
    Fiber& fiber = *launch->current;
    const size_t group = fiber.stores.size() - 1;
    ++fiber.stores[group].unread;
    ++fiber.stores[group].unwritten;
    const Coordinates coordinates(at, rank);
    enqueue([&fiber, group, place, map, coordinates] {
        auto box = std::make_shared<std::vector<uint8_t>>(box_bytes(map));
        for (uint32_t i = 0; i < box->size(); i += 16) {
            engine_read(*fiber.block, swizzled(place + i, map.span), box->data() + i, 16,
                        "TMA store");
        }
        --fiber.stores[group].unread;
        wake(fiber.store_waiters);
        enqueue([&fiber, group, map, coordinates, box] {
            each_row(map, coordinates.at,
                     [&](uint32_t offset, uint8_t* to, uint32_t before, uint32_t inside) {
                         if (to) memcpy(to, box->data() + offset + before, inside);
                     });
            --fiber.stores[group].unwritten;
            wake(fiber.store_waiters);
        });
    });
}

void bulk_commit() {
    step();
    launch->current->stores.emplace_back();
}

void bulk_wait(size_t left, bool only_read) {
    step();
    Fiber& fiber = *launch->current;
    const size_t closed = fiber.stores.size() - 1, end = closed > left ? closed - left : 0;
    for (size_t i = 0; i < end; ++i) {
        while ((only_read ? fiber.stores[i].unread : fiber.stores[i].unwritten) > 0) {
            wait_in(fiber.store_waiters, {"TMA stores of group", static_cast<uint32_t>(i), 0});
        }
    }
}

void check_stores_at_exit(const Fiber& fiber) {
    for (const StoreGroup& group : fiber.stores) {
        if (group.unread > 0) fail("the thread ends before its TMA store has read shared memory");
    }
}

// What is wrong with the arguments of a tensor map, or null.
static const char* problem_of(const Map& map, const uint32_t* element_strides, int interleave,
                              int swizzle, int fill) {
    if (interleave != 0 || fill != 0) return "interleaving and NaN filling are not emulated";
    if (swizzle < 0 || swizzle > 3) return "the swizzle is 0 to 3";
    if (reinterpret_cast<uintptr_t>(map.base) % 16 != 0)
        return "the address is not aligned to 16 bytes";
    for (int i = 0; i < map.rank; ++i) {
        if (map.dims[i] == 0 || map.dims[i] >> 32 != 0) return "an extent is not 1 to 2^32 - 1";
        if (map.box[i] == 0 || map.box[i] > 256) return "a side of the box is not 1 to 256";
        if (element_strides[i] != 1) return "element strides other than 1 are not emulated";
        if (i > 0 && (map.strides[i] % 16 != 0 || map.strides[i] >> 40 != 0)) {
            return "a stride is not a multiple of 16 bytes below 2^40";
        }
    }
    if (row_bytes(map) % 16 != 0) return "a row of the box is not a multiple of 16 bytes";
    if (swizzle != 0 && row_bytes(map) > map.span)
        return "a row of the box is wider than the swizzle";
    return nullptr;
}

}  // namespace emu

// The driver's encoder, argument for argument; 0, or 1 and a message in `error`.
int emu_tensor_map(void* to, int type, uint32_t rank, void* base, const uint64_t* dims,
                   const uint64_t* strides, const uint32_t* box, const uint32_t* element_strides,
                   int interleave, int swizzle, int /* l2_promotion */, int fill, char* error,
                   size_t error_bytes) {
    // Bytes of CUtensorMapDataType: u8, u16, u32, i32, u64, i64, f16, f32, f64, bf16.
    constexpr uint8_t ELEMENTS[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
    if (rank < 1 || rank > 5 || type < 0 || type >= static_cast<int>(sizeof ELEMENTS)) {
        snprintf(error, error_bytes, "tensor map of rank %u and type %d", rank, type);
        return 1;
    }
    emu::Map map{};
    map.tag = emu::MAP_TAG;
    map.base = static_cast<uint8_t*>(base);
    map.rank = static_cast<uint16_t>(rank);
    map.span = static_cast<uint16_t>(swizzle > 0 ? 16 << swizzle : 16);
    map.strides[0] = ELEMENTS[type];
    for (uint32_t i = 0; i < 5; ++i) {
        map.dims[i] = i < rank ? dims[i] : 1;
        map.box[i] = i < rank ? box[i] : 1;
        if (i > 0 && i < rank) map.strides[i] = strides[i - 1];
    }
    if (const char* problem = emu::problem_of(map, element_strides, interleave, swizzle, fill)) {
        snprintf(error, error_bytes, "tensor map: %s", problem);
        return 1;
    }
    memcpy(to, &map, sizeof map);
    return 0;
}
