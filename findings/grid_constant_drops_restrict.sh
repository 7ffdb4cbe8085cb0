#!/usr/bin/env bash
# A kernel parameter declared `const __grid_constant__` loses its `__restrict__`, without a warning.
#
# Guessed: `__grid_constant__` only spares the copy of a parameter whose address is taken. On a scalar or a pointer that
# is only read it changes nothing, since such a parameter is in the constant bank either way; so it may be put on every
# parameter that is never written, as is being done in libraries of kernels.
#
# Found: with `const __grid_constant__` the parameter is no longer a value but memory, in PTX `.param .align 8 .b8 x[8]`
# in place of `.param .u64 x`, and the pointer is what is loaded from there. The promise of `__restrict__` belonged to
# the value and is gone: loads are LDG and not LDG.CONSTANT, stay behind the stores before them, and for sm_80 and
# sm_90a are not moved out of a loop that stores, as if `__restrict__` had never been written. A copy of four numbers
# waits for memory four times in a row instead of once. `const` alone does no harm.
#
# What helps: a local `__restrict__` pointer initialised from the parameter, or __ldg. Passing it to an inlined function
# whose own parameters are `__restrict__` helps for sm_80 and sm_90a, but not for sm_100.
#
# Versions: nvcc 13.0.88 (nvvm and crt 13.0.88), disassembled by cuobjdump and nvdisasm 13.2.86; x86-64 Linux. No GPU
# is needed, but g++ and python3 with pip. The script fails as soon as one of these is no longer so.
#
# The order of loads and stores in the machine code, C for LDG.CONSTANT, L for another LDG, S for STG, and [ ] around
# the body of a loop; behind it how PTX declares the second parameter:
#
#                                sm_80      sm_90a     sm_100
#     copy_bare                  LSLSLSLS   LSLSLSLS   LSLSLSLS
#     copy_bare_grid             LSLSLSLS   LSLSLSLS   LSLSLSLS
#     copy_restrict              CCCCSSSS   CCCCSSSS   CCCCSSSS
#     copy_restrict_const        CCCCSSSS   CCCCSSSS   CCCCSSSS
#     copy_restrict_grid         LSLSLSLS   LSLSLSLS   LSLSLSLS
#     copy_restrict_grid_local   CCCCSSSS   CCCCSSSS   CCCCSSSS
#     copy_restrict_grid_call    CCCCSSSS   CCCCSSSS   LSLSLSLS
#     copy_restrict_grid_ldg     CCCCSSSS   CCCCSSSS   CCCCSSSS
#     loop_bare                  [LS]       [LS]       L[S]
#     loop_restrict              C[S]       C[S]       C[S]
#     loop_restrict_grid         [LS]       [LS]       L[S]
#     copy_restrict_const: .param .u64 x
#     copy_restrict_grid: .param .align 8 .b8 x[8]
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m pip install --no-deps --quiet --disable-pip-version-check --root-user-action ignore --target "$work/cuda" \
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 \
    nvidia-cuda-cccl==13.0.85 nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86
PATH=$work/cuda/nvidia/cu13/bin:$PATH

cat >"$work/kernels.cu" <<'END'
// The four ways to declare the two parameters.
using Out = float*;
using In = const float*;
using RestrictOut = float* __restrict__;
using RestrictIn = const float* __restrict__;
#define GRID const __grid_constant__

// Four numbers are copied. The parameters' addresses are not taken and nothing is passed on.
#define COPY y[0] = x[0], y[1] = x[1], y[2] = x[2], y[3] = x[3]
extern "C" __global__ void copy_bare(Out y, In x) { COPY; }
extern "C" __global__ void copy_bare_grid(GRID Out y, GRID In x) { COPY; }
extern "C" __global__ void copy_restrict(RestrictOut y, RestrictIn x) { COPY; }
extern "C" __global__ void copy_restrict_const(const RestrictOut y, const RestrictIn x) { COPY; }
extern "C" __global__ void copy_restrict_grid(GRID RestrictOut y, GRID RestrictIn x) { COPY; }

// What may help: the promise given again, to a local pointer or to a function; or loads that need no promise.
__device__ __forceinline__ void copy(RestrictOut y, RestrictIn x) { COPY; }
extern "C" __global__ void copy_restrict_grid_local(GRID RestrictOut y_, GRID RestrictIn x_) {
    const RestrictOut y = y_;
    const RestrictIn x = x_;
    COPY;
}
extern "C" __global__ void copy_restrict_grid_call(GRID RestrictOut y, GRID RestrictIn x) { copy(y, x); }
extern "C" __global__ void copy_restrict_grid_ldg(GRID RestrictOut y, GRID RestrictIn x) {
    y[0] = __ldg(x), y[1] = __ldg(x + 1), y[2] = __ldg(x + 2), y[3] = __ldg(x + 3);
}

// A number that is the same for all turns of a loop.
#define SCALE                                       \
    _Pragma("unroll 1") for (int i = 0; i < n; ++i) \
        y[i] = x[0]
extern "C" __global__ void loop_bare(Out y, In x, int n) { SCALE; }
extern "C" __global__ void loop_restrict(RestrictOut y, RestrictIn x, int n) { SCALE; }
extern "C" __global__ void loop_restrict_grid(GRID RestrictOut y, GRID RestrictIn x, GRID int n) { SCALE; }
END

# Of one kernel: its loads and stores in their order, C for a load of what is constant, L for another, S for a store,
# and [ ] around the body of a loop.
shape='
/Function : / { name = $3; shapes[name] = ""; next }
match($0, /\/\*[0-9a-f]+\*\/ +[^;]*;/) {
    text = substr($0, RSTART, RLENGTH)
    address = text
    sub(/^[^0-9a-f]*/, "", address); sub(/\*.*/, "", address)
    mark = ""
    if (text ~ / LDG[^ ]*CONSTANT/) mark = "C"
    else if (text ~ / LDG/) mark = "L"
    else if (text ~ / STG/) mark = "S"
    if (text ~ /BRA 0x/ && text ~ /@/) {
        target = text
        sub(/.*BRA 0x/, "", target); sub(/[^0-9a-f].*/, "", target)
        while (length(target) < length(address)) target = "0" target
        if (target <= address) { open[name, target] = 1; mark = "]" }
    }
    order[name] = order[name] " " address
    marks[name, address] = mark
}
END {
    for (name in shapes) {
        n = split(order[name], at, " ")
        for (i = 1; i <= n; i++) shapes[name] = shapes[name] (open[name, at[i]] ? "[" : "") marks[name, at[i]]
        print name, shapes[name]
    }
}'
archs=(sm_80 sm_90a sm_100)
for arch in "${archs[@]}"; do
    nvcc -O3 -cubin -arch="$arch" -o "$work/$arch.cubin" "$work/kernels.cu"
    cuobjdump -sass "$work/$arch.cubin" >"$work/$arch.sass"
    awk "$shape" "$work/$arch.sass" | sort >"$work/$arch.shapes"
done
nvcc -O3 -ptx -arch=sm_90a -o "$work/kernels.ptx" "$work/kernels.cu"

changed=0
# expect KERNEL SHAPE [SHAPE_OF_SM_100]
expect() {
    local arch seen line=() stated=$2
    for arch in "${archs[@]}"; do
        if [ "$arch" = sm_100 ]; then
            stated=${3:-$2}
        fi
        seen=$(awk -v name="$1" '$1 == name { print $2 }' "$work/$arch.shapes")
        if [ "$seen" != "$stated" ]; then
            changed=1
            seen+="!"
        fi
        line+=("$seen")
    done
    printf '%-26s %-10s %-10s %s\n' "$1" "${line[@]}"
}
printf '%-26s %-10s %-10s %s\n' '' "${archs[@]}"
expect copy_bare LSLSLSLS
expect copy_bare_grid LSLSLSLS
expect copy_restrict CCCCSSSS
expect copy_restrict_const CCCCSSSS
expect copy_restrict_grid LSLSLSLS
expect copy_restrict_grid_local CCCCSSSS
expect copy_restrict_grid_call CCCCSSSS LSLSLSLS
expect copy_restrict_grid_ldg CCCCSSSS
expect loop_bare '[LS]' 'L[S]'
expect loop_restrict 'C[S]'
expect loop_restrict_grid '[LS]' 'L[S]'

# How the second parameter is declared in PTX.
for name in copy_restrict_const copy_restrict_grid; do
    echo "$name: $(sed -n "s/^[[:space:]]*\(\.param .*\) ${name}_param_1\(.*\)/\1 x\2/p" "$work/kernels.ptx")"
done
if [ "$changed" = 1 ]; then
    echo 'not as stated' >&2
    exit 1
fi
echo 'as stated'
