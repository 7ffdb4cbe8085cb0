#!/usr/bin/env bash
# Compiles kernels to FOLDER/NAME.cubin without building Rust, as build.rs does: the same options, the same refusals.
# Usage: tools/cubins.sh FOLDER [NAME...]    (all kernels if none is named)
#
# With GALLOP_KERNEL_DIR=FOLDER gallop runs these instead of the ones it was built with. A kernel whose arguments,
# constants or threads change needs a build of gallop as well.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# = 0 ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
fi
folder=$1
shift
nvcc=${GALLOP_NVCC:-.cuda/nvidia/cu13/bin/nvcc}
arch=${GALLOP_CUDA_ARCH:-sm_90a}
if ! command -v "$nvcc" >/dev/null; then
    echo "no $nvcc: run tools/setup.sh cuda, or set GALLOP_NVCC" >&2
    exit 1
fi
if [ $# = 0 ]; then
    shopt -s nullglob
    for source in kernels/*.cu; do
        set -- "$@" "$(basename "$source" .cu)"
    done
fi
mkdir -p "$folder"
for name in "$@"; do
    log=$folder/$name.txt
    # C75xx: ptxas put wgmma in a row, or ignored setmaxnreg; it only mentions it.
    if ! "$nvcc" --options-file kernels/nvcc.flags "-gencode=arch=${arch/sm_/compute_},code=$arch" \
        -o "$folder/$name.cubin" "kernels/$name.cu" >"$log" 2>&1 || grep -q '(C75' "$log"; then
        rm -f "$folder/$name.cubin"
        cat "$log" >&2
        echo "kernels/$name.cu does not compile cleanly" >&2
        exit 1
    fi
done
