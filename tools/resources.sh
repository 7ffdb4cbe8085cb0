#!/usr/bin/env bash
# Writes kernels/resources.txt: what each entry point takes and what its main loop consists of, from the machine code.
# With --check it compares instead. Either way it refuses machine code that is not what the source means: local
# memory, mma of older GPUs, and sources that use wgmma, bulk copies or register moves without the instructions.
# Needs the pinned compiler of tools/setup.sh cuda, because another one gives other figures; no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

table=kernels/resources.txt
bin=.cuda/nvidia/cu13/bin
if [ ! -x "$bin/cuobjdump" ]; then
    echo "no $bin/cuobjdump: run tools/setup.sh cuda" >&2
    exit 1
fi
# cuobjdump looks for nvdisasm there.
PATH=$PWD/$bin:$PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GALLOP_NVCC=$PWD/$bin/nvcc
tools/cubins.sh "$work"

# wants SOURCE CODE WORD INSTRUCTION: a source that calls WORD, itself or by the skeleton it includes, must have
# INSTRUCTION in its machine code.
wants() {
    local texts=("$1")
    if grep -q '^#include "gemm.cuh"' "$1"; then
        texts+=(kernels/sm90/gemm.cuh)
    fi
    if grep -Eq "$3" "${texts[@]}" && ! grep -Eq "[[:space:]]$4" "$2"; then
        echo "$1 uses $3, but its machine code has no $4" >&2
        exit 1
    fi
}

{
    echo "# Made by tools/resources.sh. Registers of a thread, bytes of static shared and of local memory, then instructions of"
    echo "# the main loop (where there is wgmma) or of the whole function, in all and by kind."
    printf '# %-19s %-28s %4s %7s %6s %5s %6s' file 'entry point' regs shared local part all
    printf ' %7s' gmma tma mufu float convert integer uniform shared global sync branch
    echo
} >"$work/table"
for name in $(basename -s .cu kernels/*/*.cu | LC_ALL=C sort); do
    source=$(echo kernels/*/"$name.cu")
    cuobjdump -res-usage "$work/$name.cubin" >"$work/usage" 2>&1
    cuobjdump -sass "$work/$name.cubin" >"$work/sass"
    if bad=$(grep -Em 1 '[[:space:]](LDL|STL|HMMA|IMMA|QMMA)[. ]' "$work/sass"); then
        printf '%s: local memory or mma of older GPUs:\n%s\n' "$source" "$bad" >&2
        exit 1
    fi
    wants "$source" "$work/sass" 'wgmma_m64n[0-9]+k16' 'HGMMA'
    wants "$source" "$work/sass" 'wgmma_m64n[0-9]+k32' '[QI]GMMA'
    wants "$source" "$work/sass" 'tma_load' 'UTMALDG'
    wants "$source" "$work/sass" 'tma_load_multicast' 'UTMALDG.*MULTICAST'
    wants "$source" "$work/sass" 'tma_store' 'UTMASTG'
    wants "$source" "$work/sass" 'register_alloc' 'USETMAXREG'
    wants "$source" "$work/sass" 'stmatrix' 'STSM'
    awk -v file="$name" -f tools/resources.awk "$work/usage" "$work/sass" | sort >>"$work/table"
done

# Sources stay fit for the oldest GPU that kernels/architectures names; whether they are fast there is not asked.
grep -v '^#' kernels/architectures | while read -r folder arch oldest; do
    [ "$arch" = "$oldest" ] && continue
    mkdir "$work/$oldest"
    "$GALLOP_NVCC" -std=c++17 -cubin -I kernels -Werror all-warnings -arch="$oldest" --threads 0 \
        --output-directory "$work/$oldest" kernels/"$folder"/*.cu
done

if [ "${1:-}" != --check ]; then
    cp "$work/table" "$table"
elif diff -u "$table" "$work/table"; then
    echo "$table is what the kernels take"
else
    echo "$table has changed: look at the difference, then run tools/resources.sh" >&2
    exit 1
fi
