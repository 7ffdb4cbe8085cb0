// The activations of the transformer's layers, for the kernel that reads what a product has stored
// and for products that never store it.
#pragma once

#include "common.cuh"

constexpr float LIMIT = 7.0f;

DEVICE float gelu7(float u) {
    const float a = fminf(u, LIMIT);
    return a * sigmoid(1.702f * a);
}

DEVICE float swiglu7(float a, float b) {
    return gelu7(a) * (fminf(fmaxf(b, -LIMIT), LIMIT) + 1.0f);
}
