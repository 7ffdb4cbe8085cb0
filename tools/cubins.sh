#!/usr/bin/env bash
# Compiles kernels to FOLDER/NAME.cubin without building Rust, as build.rs does: the same options, the same refusals.
# Usage: tools/cubins.sh FOLDER [NAME...]    (all kernels if none is named)
#
# Each for the architecture of its folder in kernels/architectures, or for GALLOP_CUDA_ARCH.
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
if ! command -v "$nvcc" >/dev/null; then
    echo "no $nvcc: run tools/setup.sh cuda, or set GALLOP_NVCC" >&2
    exit 1
fi
if [ $# = 0 ]; then
    shopt -s nullglob
    for source in kernels/*/*.cu; do
        set -- "$@" "$(basename "$source" .cu)"
    done
fi
mkdir -p "$folder"
for name in "$@"; do
    log=$folder/$name.txt
    source=$(echo kernels/*/"$name.cu")
    arch=${GALLOP_CUDA_ARCH:-$(awk -v folder="$(basename "$(dirname "$source")")" '$1 == folder { print $2 }' kernels/architectures)}
    # C75xx: ptxas put wgmma in a row, or ignored setmaxnreg; it only mentions it.
    if ! "$nvcc" --options-file kernels/nvcc.flags "-gencode=arch=${arch/sm_/compute_},code=$arch" \
        -o "$folder/$name.cubin" "$source" >"$log" 2>&1 || grep -q '(C75' "$log"; then
        rm -f "$folder/$name.cubin"
        cat "$log" >&2
        echo "$source does not compile cleanly" >&2
        exit 1
    fi
done
