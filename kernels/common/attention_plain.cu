// attention_plain: y[r, h, :] = sum over keys s of softmax(z[r, h, :])[s] v[s, h / sharing, :],
//                  z[r, h, s] = cap(scale q[r, h, :] k[s, h / sharing, :]),  cap(z) = softcap tanh(z / softcap)
//
//   q, y    [rows, heads, head], rows q_pitch and y_pitch elements apart, 16-byte aligned, pitches % 8 == 0
//   k, v    [keys, kv_heads, head], rows k_pitch and v_pitch elements apart, likewise
//   ends    [rows] i32: row r sees the ranges from ends[r - 1] up to ends[r], at least one
//   ranges  [ends[rows - 1], 2] i32: the first key, and behind the last; not empty
//   head    a multiple of 8, at most HEAD_MAX
//   sharing heads / kv_heads
//   softcap 0 for none
//
// For heads, masks and types that the fast kernel does not take. A warp has one row of one head: each lane the product
// with one of 32 keys, then each lane its columns of y. The name ends in the type of q, k, v and y.
//
//   launch  grid (ceil(rows / ROWS), heads), block THREADS, no dynamic shared memory
//   bound   L1: every row of k and v is read by each warp that sees it
//   math    f32 throughout, one online softmax over all ranges, one rounding at the store
//   error   bf16: within 1 ulp of the largest v of src/cpu/attention.rs

#include "common.cuh"
#include "params.h"

constexpr int THREADS = 128;
constexpr int ROWS = THREADS / 32;
constexpr int CHUNKS = 4;  // vectors of 8 that a lane holds
constexpr int HEAD_MAX = CHUNKS * 32 * Vec8::SIZE;
constexpr int KEYS = 32;  // at a time, one per lane
constexpr float LOG2_E = 1.44269504f;

struct Shared {
    float query[ROWS][HEAD_MAX];
    float weight[ROWS][KEYS];
};

DEVICE float cap(float z, float softcap) {
    return softcap > 0.0f ? softcap * tanhf(z / softcap) : z;
}

template <class T>
DEVICE float dot(const float* query, const T* key, int head) {
    float sum = 0.0f;
    for (int col = 0; col < head; col += Vec8::SIZE) {
        const Vec8 values = Vec8::load(key + col);
        UNROLL
        for (int i = 0; i < Vec8::SIZE; ++i) sum = fmaf(query[col + i], values.v[i], sum);
    }
    return sum;
}

// A row of y while keys come in.
struct Softmax {
    Vec8 acc[CHUNKS];
    float max, sum;  // of all keys so far; each lane's own share of the sum

    // Takes the `count` keys from `k` and `v` on.
    template <class T>
    DEVICE void add(const float* query, float* weight, const T* k, const T* v, int count, int head,
                    int k_pitch, int v_pitch, float scale, float softcap) {
        const int lane = threadIdx.x % 32;
        float z = -INFINITY;
        if (lane < count) z = cap(scale * dot(query, k + int64_t{lane} * k_pitch, head), softcap);
        const float top = fmaxf(max, warp_max(z));
        const float shrink = fast_exp2((max - top) * LOG2_E);
        const float mine = fast_exp2((z - top) * LOG2_E);
        max = top;
        sum = sum * shrink + mine;
        weight[lane] = mine;
        __syncwarp();
        UNROLL
        for (int i = 0; i < CHUNKS; ++i) {
            const int col = (32 * i + lane) * Vec8::SIZE;
            if (col >= head) break;
            UNROLL
            for (float& a : acc[i].v) a *= shrink;
            for (int key = 0; key < count; ++key) {
                const Vec8 values = Vec8::load(v + int64_t{key} * v_pitch + col);
                UNROLL
                for (int j = 0; j < Vec8::SIZE; ++j) {
                    acc[i].v[j] = fmaf(weight[key], values.v[j], acc[i].v[j]);
                }
            }
        }
        __syncwarp();
    }
};

template <class T>
DEVICE void attention(T* y, const T* q, const T* k, const T* v, const int* ends, const int* ranges,
                      AttentionShape shape) {
    K_SMEM(Shared, s);
    const auto [rows, head, sharing, q_pitch, k_pitch, v_pitch, y_pitch, scale, softcap] = shape;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int row = blockIdx.x * ROWS + warp;
    if (row >= rows) return;  // whole warps
    const int first = blockIdx.y * head, kv_first = blockIdx.y / sharing * head;
    q += int64_t{row} * q_pitch + first;
    y += int64_t{row} * y_pitch + first;

    float* const query = s.query[warp];
    for (int col = lane; col < head; col += 32) query[col] = to_float(q[col]);
    __syncwarp();

    Softmax state{{}, -INFINITY, 0.0f};
    for (int range = row > 0 ? ends[row - 1] : 0; range < ends[row]; ++range) {
        const int end = ranges[2 * range + 1];
        for (int key = ranges[2 * range]; key < end; key += KEYS) {
            state.add(query, s.weight[warp], k + int64_t{key} * k_pitch + kv_first,
                      v + int64_t{key} * v_pitch + kv_first, end - key < KEYS ? end - key : KEYS,
                      head, k_pitch, v_pitch, scale, softcap);
        }
    }

    const float factor = 1.0f / warp_sum(state.sum);
    UNROLL
    for (int i = 0; i < CHUNKS; ++i) {
        const int col = (32 * i + lane) * Vec8::SIZE;
        if (col >= head) break;
        UNROLL
        for (float& a : state.acc[i].v) a *= factor;
        state.acc[i].store(y + col);
    }
}

K_INSTANTIATE(THREADS, 2, 7, attention_plain_bf16, attention<bf16>)
K_INSTANTIATE(THREADS, 2, 7, attention_plain_f32, attention<float>)
