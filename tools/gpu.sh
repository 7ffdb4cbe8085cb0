#!/usr/bin/env bash
# Everything that a GPU is asked for, in one call of at most nine minutes. The machine with the GPU needs its driver and
# nothing else, no Rust either: build where nvcc is (tools/setup.sh cuda; cargo build --release --locked), carry
# target/release/gallop and this tree there, and run tools/gpu.sh. Results lie in $OUT (default out/gpu), one file per
# step and summary.json; a table is printed. The exit code is 1 if a step failed.
set -uo pipefail
cd "$(dirname "$0")/.."
gallop=${GALLOP:-target/release/gallop}
out=${OUT:-out/gpu}
device=${DEVICE:-cuda:0}
budget=${BUDGET:-540}
mkdir -p "$out"
if ! [ -x "$gallop" ]; then
    echo "$gallop is missing: cargo build --release --locked, with nvcc" >&2
    exit 2
fi

rows=()
failed=0

# step NAME SECONDS_AT_MOST COMMAND...: runs it if there is time left, keeps what it prints.
step() {
    local name=$1 most=$2 start=$SECONDS code left=$((budget - SECONDS))
    shift 2
    if [ "$left" -lt 20 ]; then
        rows+=("$name|not run, no time left|0")
        failed=1
        return
    fi
    timeout "$((left < most ? left : most))" "$@" >"$out/$name.txt" 2>&1
    code=$?
    rows+=("$name|$([ $code = 0 ] && echo ok || echo "exit $code")|$((SECONDS - start))")
    if [ $code != 0 ]; then
        failed=1
        echo "== $name: exit $code"
        tail -n 12 "$out/$name.txt"
    fi
}

step driver 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv
step doctor 20 "$gallop" doctor --json
# Is every kernel right? Op by op against the CPU, then the goldens.
step compare-base 60 "$gallop" compare --device "$device" --size 64x64 --seconds 1 --all
step compare-guided 60 "$gallop" compare --device "$device" --size 64x64 --seconds 1 --variant base --all
step compare-sr 60 "$gallop" compare --device "$device" --stage sr --size 512x480 --seconds 1 --all
step compare-text 60 "$gallop" compare --device "$device" --stage text --all
step compare-decode 60 "$gallop" compare --device "$device" --stage decode --size 64x64 --seconds 1 --all
step compare-audio 60 "$gallop" compare --device "$device" --stage audio --size 64x64 --seconds 1 --all
step verify 90 "$gallop" verify --device "$device"
step verify-dit 90 "$gallop" verify tests/golden/dit --filter dit_ --device "$device"
# The whole way, twice: the same bytes?
step clip 60 "$gallop" generate "A red ball bounces" --device "$device" --seed 7 --json --force -o "$out/one.mp4"
step again 60 "$gallop" generate "A red ball bounces" --device "$device" --seed 7 --json --force -o "$out/two.mp4"
step same 5 cmp "$out/one.mp4" "$out/two.mp4"
# How fast? Synthetic weights of the published sizes, one stage at a time.
step bench-base 150 "$gallop" bench --model published --stage base --size 256p --device "$device" --runs 3 --json
step bench-sr-540p 150 "$gallop" bench --model published --stage sr --size 540p --device "$device" --runs 2 --json
step bench-sr-1080p 200 "$gallop" bench --model published --stage sr --size 1080p --device "$device" --runs 1 --json

{
    printf '{"device": "%s", "steps": [' "$device"
    separator=
    for row in "${rows[@]}"; do
        IFS='|' read -r name result seconds <<<"$row"
        printf '%s{"name": "%s", "result": "%s", "seconds": %s}' "$separator" "$name" "$result" "$seconds"
        separator=', '
    done
    printf ']}\n'
} >"$out/summary.json"
printf '%-16s %-24s %s\n' step result seconds
for row in "${rows[@]}"; do
    IFS='|' read -r name result seconds <<<"$row"
    printf '%-16s %-24s %s\n' "$name" "$result" "$seconds"
done
exit "$failed"
