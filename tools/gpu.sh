#!/usr/bin/env bash
# What a GPU is asked for, as much as fits nine minutes, or a part of it:
#
#   tools/gpu.sh [GROUP...]      groups, in this order: look conformance first golden clip compare rates bench torch
#
# The machine with the GPU needs its driver and nothing else, no Rust either: build where nvcc is (tools/setup.sh cuda;
# cargo build --release --locked), carry target/release/gallop and this tree there. A step that fails stops nothing.
#
# In $OUT (default out/gpu) afterwards: summary.json, table.txt (what is printed at the end), rates.jsonl and
# torch.jsonl (kernels, one line each), clocks.csv (of the GPU, twice a second), log.txt (what every step printed, and
# when it began) and steps.tar.gz (each step's own file). They are of one call; the next one removes them. The exit code
# is 1 if a step failed or was not run.
#
#   GALLOP   the program                   BUDGET  seconds for everything, 540
#   DEVICE   cuda:0                        DRY=1   print the commands instead
set -uo pipefail
cd "$(dirname "$0")/.."
gallop=${GALLOP:-target/release/gallop}
out=${OUT:-out/gpu}
device=${DEVICE:-cuda:0}
budget=${BUDGET:-540}
dry=${DRY:-0}
known=(look conformance first golden clip compare rates bench torch)

groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=("${known[@]}")
for group in "${groups[@]}"; do
    if [[ " ${known[*]} " != *" $group "* ]]; then
        echo "no group $group; there are ${known[*]}" >&2
        exit 2
    fi
done
if [ "$dry" != 1 ] && ! [ -x "$gallop" ]; then
    echo "$gallop is missing: cargo build --release --locked, with nvcc" >&2
    exit 2
fi
mkdir -p "$out" || exit 2
steps=$(mktemp -d)
watch=
trap 'rm -rf "$steps"; [ -z "$watch" ] || kill "$watch" 2>/dev/null' EXIT

rows=()
failed=0
# Steps of this group that ran into their time; with two of them the rest of the group is left out.
hung=0

# The first number behind "WORD": in a file, or nothing.
figure() {
    grep -o "\"$2\": *[0-9.e+-]*" "$1" 2>/dev/null | head -n 1 | grep -o '[0-9.e+-]*$'
}

# What one sees at a glance of a step: how many passed, or the time of a run.
glance() {
    local value
    if value=$(figure "$1" median_seconds) && [ -n "$value" ]; then
        echo "one run $value s"
    elif value=$(figure "$1" passed) && [ -n "$value" ]; then
        echo "$value passed, $(figure "$1" failed) failed"
    fi
}

summarise() {
    local row name result seconds note separator=
    {
        printf '{"device": "%s", "groups": "%s", "steps": [' "$device" "${groups[*]}"
        for row in "${rows[@]}"; do
            IFS='|' read -r name result seconds note <<<"$row"
            printf '%s\n  {"name": "%s", "result": "%s", "seconds": %s, "note": "%s"}' \
                "$separator" "$name" "$result" "$seconds" "$note"
            separator=,
        done
        printf '\n]}\n'
    } >"$out/summary.json"
    {
        printf '%-28s %-24s %7s  %s\n' step result seconds note
        for row in "${rows[@]}"; do
            IFS='|' read -r name result seconds note <<<"$row"
            printf '%-28s %-24s %7s  %s\n' "$name" "$result" "$seconds" "$note"
        done
    } >"$out/table.txt"
}

# step NAME SECONDS_AT_MOST COMMAND...: runs it if there is time left; gives its success.
step() {
    local name=$1 most=$2 start=$SECONDS code result left=$((budget - SECONDS))
    shift 2
    if [ "$dry" = 1 ]; then
        printf '%-28s %4s s  %s\n' "$name" "$most" "$*"
        return 0
    fi
    local why=
    [ "$left" -ge 20 ] || why="no time left"
    [ "$hung" -lt 2 ] || why="others hung"
    if [ -n "$why" ]; then
        rows+=("$name|not run, $why|0|")
        failed=1
        return 1
    fi
    echo "== $name begins at $SECONDS s, $(date +%T)" >>"$out/log.txt"
    timeout -k 5 "$((left < most ? left : most))" "$@" >"$steps/$name.txt" 2>"$steps/$name.err"
    code=$?
    result=ok
    if [ $code != 0 ]; then
        result="exit $code"
        failed=1
        [ $code != 124 ] && [ $code != 137 ] || hung=$((hung + 1))
        echo "== $name: exit $code"
        tail -n 4 "$steps/$name.err"
        tail -n 8 "$steps/$name.txt" | cut -c 1-300
    fi
    rows+=("$name|$result|$((SECONDS - start))|$(glance "$steps/$name.txt")")
    {
        echo "== $name ($result): $*"
        cat "$steps/$name.err" "$steps/$name.txt"
    } >>"$out/log.txt"
    # Whatever comes next, this is on the disk.
    summarise
    return $code
}

# A step that a build without its option cannot run.
step_with() {
    local option=$1 name=$2
    shift
    if [ "$dry" != 1 ] && ! "$gallop" dev bench --help 2>/dev/null | grep -q -- "$option"; then
        rows+=("$name|not run, no $option|0|")
        return 0
    fi
    step "$@"
}

look() {
    step driver 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv
    step doctor 30 "$gallop" doctor --json
    # Kernels in the program, and a GPU that it takes.
    step doctor-finds-a-gpu 5 grep -q 'running on .*(cuda:' "$steps/doctor.txt"
    step program 5 sha256sum "$gallop"
}

# Do single instructions do what the emulator does? One at fault may take the device with it: then group by group.
conformance() {
    if ! step instructions 40 "$gallop" dev instructions --device "$device" --json; then
        for part in warps/ numbers/ barriers/ registers/ boxes/ clusters/ \
            wgmma/bf16_n wgmma/bf16_t wgmma/bf16_r wgmma/e4m3_n wgmma/e4m3_r; do
            # As text, a line for each case as it ends: where nothing ends, the last line says how far it came.
            step "instructions-${part//\//-}" 12 "$gallop" dev instructions --filter "$part" --device "$device"
        done
    fi
}

# Do the kernels that wait for each other end at all? One of each kind; a hang here is all that one needs to know.
first() {
    local kernels=("$gallop" dev bench --kernels --device "$device" --json --filter)
    step first-product 20 "${kernels[@]}" "gemm/proj 4352x5120x5120, own bf16"
    step first-product-fp8 20 "${kernels[@]}" "gemm/proj 4352x5120x5120, own fp8"
    step first-attention 20 "${kernels[@]}" "attention/local of 4350"
    step first-convolution 20 "${kernels[@]}" "convolution/64"
}

# Is every kernel right? Op by op against the CPU: the miniature's networks, then the published widths. A kernel that
# fails is named.
compare() {
    local tiny=(--size 64x64 --seconds 1 --device "$device" --all)
    export GALLOP_SYNC=1
    step compare-base 25 "$gallop" dev compare "${tiny[@]}"
    step compare-guided 25 "$gallop" dev compare --variant base "${tiny[@]}"
    step compare-sr 60 "$gallop" dev compare --stage sr --size 512x480 --seconds 1 --device "$device" --all
    step compare-text 25 "$gallop" dev compare --stage text --device "$device" --all
    step compare-decode 40 "$gallop" dev compare --stage decode "${tiny[@]}"
    step compare-audio 25 "$gallop" dev compare --stage audio "${tiny[@]}"
    step_with --precision compare-base-fp8 25 "$gallop" dev compare --precision fp8 "${tiny[@]}"
    step compare-base-library 25 "$gallop" dev compare --gemm cublaslt "${tiny[@]}"
    step_with --precision compare-fp8-library 25 "$gallop" dev compare --precision fp8 --gemm cublaslt "${tiny[@]}"
    step compare-published-decode 60 "$gallop" dev compare --model published --stage decode "${tiny[@]}"
    step compare-published 100 "$gallop" dev compare --model published --layers 5 --text-tokens 160 "${tiny[@]}"
    step_with --precision compare-published-fp8 100 \
        "$gallop" dev compare --model published --layers 5 --text-tokens 160 --precision fp8 "${tiny[@]}"
    unset GALLOP_SYNC
}

golden() {
    step verify 90 "$gallop" verify --device "$device" --json
    # Of the large cases those that are in the tree: published widths, all 40 layers, fused steps.
    local file name
    for file in tests/golden/dit/{dit_,e2e_,ops}*.safetensors tests/golden/vae/{turbo_,wan_,oob_}*.safetensors \
        tests/golden/text/enc_*.safetensors; do
        name=$(basename "$file" .safetensors)
        step "verify-${name//_/-}" 60 "$gallop" verify "${file%/*}" --filter "$name" --device "$device" --json
    done
}

# The whole way, twice: the same bytes?
clip() {
    local make=("$gallop" generate "A red ball bounces" --device "$device" --seed 7 --json --force)
    step clip 60 "${make[@]}" -o "$steps/one.mp4"
    step clip-again 60 "${make[@]}" -o "$steps/two.mp4"
    step clip-same-bytes 5 cmp "$steps/one.mp4" "$steps/two.mp4"
}

# How fast are the stages? Synthetic weights of the published sizes; a run is one step of the sampler. What streams makes
# its weights on the host and comes last.
bench() {
    local made=("$gallop" dev bench --model published --text-tokens 640 --device "$device" --json)
    local base=("${made[@]}" --stage base --size 256p) small=("${made[@]}" --stage sr --size 540p)
    local large=("${made[@]}" --stage sr --size 1080p)
    step base-256p 90 "${base[@]}" --runs 8
    step sr-540p 90 "${small[@]}" --runs 3
    step decode-1080p 90 "${made[@]}" --stage decode --size 1080p --runs 3
    step sr-1080p 240 "${large[@]}" --runs 1
    step_with --precision base-256p-fp8 90 "${base[@]}" --runs 8 --precision fp8
    step_with --precision sr-1080p-fp8 150 "${large[@]}" --runs 1 --precision fp8
    step_with --precision sr-540p-fp8 90 "${small[@]}" --runs 3 --precision fp8
    step base-256p-library 90 "${base[@]}" --runs 8 --gemm cublaslt
    step sr-540p-library 90 "${small[@]}" --runs 3 --gemm cublaslt
    step_with --residency base-256p-streamed 90 "${base[@]}" --runs 3 --residency streamed
    step_with --residency sr-540p-streamed 90 "${small[@]}" --runs 3 --residency streamed
}

# Kernels, our library's rival, and copies, each alone; the first lines are worth the most.
rates() {
    local name filter
    for filter in attention/ copy/ "gemm/up_gate" "gemm/down" gemm/qkv gemm/proj "gemm/up gelu7" rows/ \
        convolution/; do
        name=rates-$(tr -cs 'a-z0-9_\n' - <<<"${filter%/}")
        step "$name" 90 "$gallop" dev bench --kernels --filter "$filter" --device "$device" --json
        [ "$dry" = 1 ] || cat "$steps/$name.txt" >>"$out/rates.jsonl" 2>/dev/null
    done
}

torch() {
    if [ "$dry" != 1 ] && ! python3 -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
        rows+=("torch|not run, no torch|0|")
        return
    fi
    step torch 120 python3 -u tools/torch_rates.py
    [ "$dry" = 1 ] || cp "$steps/torch.txt" "$out/torch.jsonl" 2>/dev/null
}

# Where pip put cuBLASLt, if nobody says where it is.
if [ -z "${GALLOP_CUBLASLT:-}" ] && command -v python3 >/dev/null; then
    GALLOP_CUBLASLT=$(python3 -c '
import glob, sys
found = [f for p in sys.path for f in glob.glob(p + "/nvidia/*/lib/libcublasLt.so.13")]
print(found[0] if found else "")' 2>/dev/null)
    export GALLOP_CUBLASLT
fi

rm -f "$out"/{summary.json,table.txt,rates.jsonl,torch.jsonl,clocks.csv,log.txt,steps.tar.gz}
if [ "$dry" != 1 ] && command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_event_reasons.active \
        --format=csv -lms 500 >"$out/clocks.csv" 2>&1 &
    watch=$!
fi
for group in "${groups[@]}"; do
    hung=0
    "$group"
    if [ "$group" = first ] && [ "$hung" -gt 0 ]; then
        echo "a kernel hangs: nothing else is run" | tee -a "$out/log.txt"
        break
    fi
done
[ "$dry" = 1 ] && exit 0
summarise
rm -f "$steps"/*.mp4
tar -C "$steps" -czf "$out/steps.tar.gz" .
cat "$out/table.txt"
exit "$failed"
