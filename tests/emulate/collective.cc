// What the lanes of a warp do together: each comes with its words, the last one does the work, all
// read the result.
#include "machine.h"

namespace emu {

enum Kind { SHUFFLE, BALLOT, SYNC, STORE_MATRIX, LOAD_MATRIX };
constexpr const char* NAMES[] = {"shuffle", "vote", "__syncwarp", "stmatrix", "ldmatrix"};

// Meets the lanes of `mask`; `work(meeting)` runs once all have come. The result holds until the
// next meeting ends.
template <class Work>
static const Meeting& meet(uint32_t mask, Kind kind, const uint32_t (&words)[5], Work work) {
    step();
    Fiber& fiber = *launch->current;
    Warp& warp = fiber.block->warps[static_cast<size_t>(fiber.warp)];
    if ((mask >> fiber.lane & 1) == 0)
        fail("%s: mask %08x without the lane itself", NAMES[kind], mask);
    if ((mask & warp.exited) != 0)
        fail("%s: lanes %08x have ended", NAMES[kind], mask & warp.exited);
    Meeting* meeting = nullptr;
    for (Meeting& known : warp.meetings)
        if (known.mask == mask) meeting = &known;
    if (!meeting) {
        meeting = &warp.meetings.emplace_back();
        meeting->mask = mask;
    }
    if (meeting->arrived == 0) meeting->kind = kind;
    if (meeting->kind != kind) fail("%s: other lanes are in %s", NAMES[kind], NAMES[meeting->kind]);
    meeting->arrived |= 1u << fiber.lane;
    memcpy(meeting->brought[fiber.lane], words, sizeof words);
    if (meeting->arrived == mask) {
        memcpy(meeting->result, meeting->brought, sizeof meeting->result);
        work(*meeting);
        meeting->arrived = 0;
        ++meeting->generation;
        wake(meeting->waiters);
    } else {
        const uint64_t generation = meeting->generation;
        while (generation == meeting->generation) {
            wait_in(meeting->waiters, {"a warp collective of lanes", mask, 0});
        }
    }
    return *meeting;
}

void leave_warp(Fiber& fiber) {
    Warp& warp = fiber.block->warps[static_cast<size_t>(fiber.warp)];
    for (const Meeting& meeting : warp.meetings) {
        if (meeting.arrived != 0 && (meeting.mask >> fiber.lane & 1) != 0) {
            fail("the thread ends while lanes %08x wait for it in %s", meeting.arrived,
                 NAMES[meeting.kind]);
        }
    }
    warp.exited |= 1u << fiber.lane;
}

uint32_t shuffle(uint32_t mask, uint32_t value, int lane, Shuffle how, int width) {
    const int own = launch->current->lane;
    const Meeting& meeting =
        meet(mask, SHUFFLE, {value, static_cast<uint32_t>(how)}, [](Meeting&) {});
    const int first = own & ~(width - 1);
    int from = own;
    switch (how) {
        case Shuffle::INDEX:
            from = first + (lane & (width - 1));
            break;
        case Shuffle::XOR:
            from = own ^ lane;
            break;
        case Shuffle::DOWN:
            from = own + lane;
            break;
        case Shuffle::UP:
            from = own - lane;
            break;
    }
    if (from < first || from >= first + width) from = own;
    if ((mask >> from & 1) == 0) fail("shuffle from lane %d, which is not among %08x", from, mask);
    return meeting.result[from][0];
}

uint32_t ballot(uint32_t mask, bool value) {
    const Meeting& meeting = meet(mask, BALLOT, {value}, [](Meeting&) {});
    uint32_t lanes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1) != 0 && meeting.result[lane][0] != 0) lanes |= 1u << lane;
    return lanes;
}

void sync_warp(uint32_t mask) {
    meet(mask, SYNC, {}, [](Meeting&) {});
}

// Address of row `row` of matrix `matrix`, checked; lane 8 * matrix + row gave it.
static uint32_t row_of(const Meeting& meeting, int matrix, int row) {
    const uint32_t at = meeting.result[8 * matrix + row][4];
    if (at % 16 != 0) fail("%s: row at %#x is not aligned to 16 bytes", NAMES[meeting.kind], at);
    check_range(*launch->current->block, at, 16, NAMES[meeting.kind]);
    return at;
}

// The element (row, col) of a matrix of 8x8 lies in lane 4 row + col / 2, half col % 2.
void stmatrix_x4(void* row, const uint32_t* r, bool transposed) {
    const uint32_t words[5] = {r[0], r[1], r[2], r[3], shared_address(row)};
    meet(0xffffffff, STORE_MATRIX, words, [&](Meeting& meeting) {
        uint8_t* const memory = launch->current->block->memory;
        for (int i = 0; i < 256; ++i) {
            const int matrix = i / 64, y = i / 8 % 8, x = i % 8;
            const int held_row = transposed ? x : y, held_col = transposed ? y : x;
            const uint32_t pair = meeting.result[4 * held_row + held_col / 2][matrix];
            const auto element = static_cast<uint16_t>(pair >> (held_col % 2 * 16));
            memcpy(memory + row_of(meeting, matrix, y) + 2 * x, &element, sizeof element);
        }
    });
}

void ldmatrix_x4(uint32_t* r, const void* row, bool transposed) {
    const uint32_t words[5] = {0, 0, 0, 0, shared_address(row)};
    const Meeting& meeting = meet(0xffffffff, LOAD_MATRIX, words, [&](Meeting& meeting) {
        const uint8_t* const memory = launch->current->block->memory;
        for (int i = 0; i < 256; ++i) {
            const int matrix = i / 64, y = i / 8 % 8, x = i % 8;
            const int held_row = transposed ? x : y, held_col = transposed ? y : x;
            uint16_t element;
            memcpy(&element, memory + row_of(meeting, matrix, y) + 2 * x, sizeof element);
            meeting.result[4 * held_row + held_col / 2][matrix] |= uint32_t{element}
                                                                   << (held_col % 2 * 16);
        }
    });
    memcpy(r, meeting.result[launch->current->lane], 4 * sizeof *r);
}

}  // namespace emu
