// synthetic: y[r, c] = offset + scale u(r cols + c),  u(i) = (2 (z >> 40) + 1 - 2^24) / 2^24,
//            z = mix(key + (i + 1) 0x9e3779b97f4a7c15),  mix the finalizer of SplitMix64
//
//   y       [rows, cols] bf16 or f32, rows `pitch` elements apart, 16-byte aligned, pitch % 8 == 0;
//           zero from `cols` up to `pitch`
//   key     the seed of the tensor's numbers, 64 bits
//   cols    any, at most pitch; rows * pitch / 8 < 2^31
//
// The weights of src/weights/synthetic.rs, generated on the device. One thread per eight columns, the pitch included.
// The name ends in the type of y.
//
//   launch  grid (ceil(rows * pitch / 8 / THREADS)), block THREADS, no dynamic shared memory
//   bound   integers: two products of 64 bits and about 30 other instructions an element, against
//           the store of 2 or 4 bytes
//   math    f64 and one rounding to f32, then that to bf16. u has 25 bits and scale 24, so that their
//           product is exact and a fused addition gives the same
//   error   none: the bits of src/weights/synthetic.rs

#include "common.cuh"

constexpr int THREADS = 256;

DEVICE uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// Element `index` of the numbers of `key`: an odd multiple of 2^-24 in (-1, 1).
DEVICE double unit(uint64_t key, uint64_t index) {
    const auto upper = static_cast<int>(mix(key + (index + 1) * 0x9e3779b97f4a7c15) >> 40);
    return (2 * upper + 1 - (1 << 24)) * 0x1p-24;
}

template <class Out>
DEVICE void synthetic(Out* y, long long key, float offset, float scale, int rows, int cols,
                      int pitch) {
    const Chunk at = Chunk::of_thread(pitch);
    if (at.row >= rows) return;
    const double low = offset, width = scale;
    Vec8 value;
    UNROLL
    for (int k = 0; k < Vec8::SIZE; ++k) {
        const uint64_t index = static_cast<uint64_t>(at.in(cols)) + k;
        const double made = low + width * unit(static_cast<uint64_t>(key), index);
        value.v[k] = at.col + k < cols ? static_cast<float>(made) : 0.0f;
    }
    value.store(y + at.in(pitch));
}

K_INSTANTIATE(THREADS, 1, 7, synthetic_bf16, synthetic<bf16>)
K_INSTANTIATE(THREADS, 1, 7, synthetic_f32, synthetic<float>)
