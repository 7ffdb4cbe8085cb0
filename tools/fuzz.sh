#!/usr/bin/env bash
# Fuzzes what reads foreign bytes: tools/fuzz.sh [SECONDS_EACH] [TARGET...], by default 60 s of every target of
# tests/fuzz. Needs a stable toolchain and a C++ compiler. Stops at the first input that panics, takes 2 GiB or 20 s,
# prints it and says how to repeat it. Runs add up: inputs that reach new code are kept in target/fuzz/corpus for the next
# one, target/fuzz/runs counts executions and seconds, and the order of inputs follows from the number of runs before (or
# FUZZ_SEED), so that a short run on a clean clone is the beginning of a long one.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: tools/fuzz.sh [SECONDS_EACH] [TARGET...]; found '$seconds' for the seconds" >&2
    exit 2
fi
mapfile -t known < <(cd tests/fuzz/targets && printf '%s\n' *.rs | sed 's/\.rs$//')
targets=("$@")
if [ "${#targets[@]}" = 0 ]; then
    targets=("${known[@]}")
fi
for target in "${targets[@]}"; do
    if ! [ -f "tests/fuzz/targets/$target.rs" ]; then
        echo "there is no target '$target'; there are ${known[*]}" >&2
        exit 2
    fi
done

# What cargo-fuzz sets, without what needs a nightly toolchain. With --target they hold for the program alone, not for
# build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
llvm() { printf -- '-Cllvm-args=-sanitizer-coverage-%s ' "$@"; }
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module $(llvm level=4 inline-8bit-counters pc-table trace-compares)"
export CARGO_TARGET_DIR=target/fuzz
start=$SECONDS
cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml --target "$host" "${targets[@]/#/--bin=}"
echo "== built in $((SECONDS - start)) s"

# Seeds of a target: its own, and for pictures and sounds the files that the tests read.
seeds() {
    local folder
    case $1 in
    image | voice) folder=tests/media/samples ;;
    *) folder= ;;
    esac
    for folder in "tests/fuzz/seeds/$1" $folder; do
        if [ -d "$folder" ]; then
            echo "$folder"
        fi
    done
}

for target in "${targets[@]}"; do
    corpus=target/fuzz/corpus/$target
    found=target/fuzz/found/$target
    runs=target/fuzz/runs/$target
    program=target/fuzz/$host/release/$target
    rm -rf "$found"
    mkdir -p "$corpus" "$found" target/fuzz/runs
    touch "$runs"
    seed=${FUZZ_SEED:-$(($(wc -l <"$runs") + 1))}
    echo "== $target"
    # shellcheck disable=SC2046
    if ! RUST_BACKTRACE=0 "$program" "$corpus" $(seeds "$target") -seed="$seed" -max_total_time="$seconds" -max_len=16384 -timeout=20 \
        -rss_limit_mb=2048 -dict=tests/fuzz/words.dict -artifact_prefix="$found/" >"$found/log" 2>&1; then
        tail -n 40 "$found/log" >&2
        for input in "$found"/{crash,timeout,oom}-*; do
            if [ -f "$input" ]; then
                printf '%s: the input in base64, and the command that repeats it:\n' "$target" >&2
                base64 "$input" >&2
                echo "$program $input" >&2
            fi
        done
        exit 1
    fi
    grep 'cov: ' "$found/log" | tail -n 1
    sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 \2/p' "$found/log" >>"$runs"
    awk '{ n += $1; s += $2 } END { printf "%d executions in %d s; in all %d in %d s\n", $1, $2, n, s }' "$runs"
done
