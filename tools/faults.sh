#!/usr/bin/env bash
# Breaks runs of the program wherever they write, and looks at what is left: tools/faults.sh [GALLOP] [KILLS], by default
# target/release/gallop and 100. Needs Linux and strace, which makes one call of a run fail (ENOSPC, EIO) or kills it there.
# Every writing call of each command is broken once in each way, then it is killed at KILLS random moments. Wanted after a
# failure: exit code 0 or the code of an error, every output as it was before or complete, no part; after a kill the same
# outputs, and a next run that works and leaves no part.
set -euo pipefail

gallop=$(readlink -f "${1:-"$(dirname "$0")/../target/release/gallop"}")
kills=${2:-100}
if ! command -v strace >/dev/null; then
    echo "strace is needed: apt-get install strace" >&2
    exit 2
fi
calls=(write openat mkdir fsync fchmod flock renameat2 unlink rmdir unlinkat)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
log=$folder/log

clip="generate x --size 64x64 --seconds 1 --steps 1 --seed"
files="-q -o out/clip.mp4 --save-latents out/clip.safetensors --sheet out/clip.png"
"$gallop" dev synth -o model >/dev/null
commands=(
    "$clip 1 $files"
    "$clip 1 $files --force"
    "pack --model model --network distill -o out/packed"
    "pack --model model --network distill -o out/packed --force"
)

# The folder as a run finds it: empty, or with what another one has made if the run replaces it.
before() {
    rm -rf out
    mkdir out
    case $1 in
    *pack*--force) cp -r packed out/packed ;;
    *--force) cp clip.mp4 clip.safetensors clip.png out ;;
    esac
}
"$gallop" pack --model model --network base -o packed >/dev/null
mkdir out
# shellcheck disable=SC2086
"$gallop" $clip 2 $files >/dev/null
mv out/clip.* .

# Sums of all outputs, parts left out.
sums() {
    find out -name '.gallop-*.part' -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum
}

wrong() {
    printf '%s\n  %s\n' "$1" "$2" >&2
    sed 's/^/  /' "$log" >&2
    find out >&2
    exit 1
}

# look COMMAND HOW CODE: that each output is as before or complete, and the clip not without what belongs to it.
look() {
    local sum name has_new=false has_old=false
    while read -r sum name; do
        if grep -q "^$sum  $name$" "$folder/complete"; then
            has_new=true
        elif grep -q "^$sum  $name$" "$folder/untouched"; then
            has_old=true
        else
            wrong "$1: $2" "$name is neither what it was nor what it should be"
        fi
        case $name in
        *clip.mp4) if grep -q "^$sum" "$folder/complete" && $has_old; then wrong "$1: $2" "the clip is new and other files are old"; fi ;;
        esac
    done < <(sums | sort -k 2,2 -t . -r)
    if [ "$3" = 0 ] && ! diff -q <(sums) "$folder/complete" >/dev/null; then
        wrong "$1: $2" "exit code 0, and not all outputs are there"
    fi
    if [ "$3" -lt 128 ] && [ "$3" != 0 ] && $has_new && [ -s "$folder/untouched" ] && $has_old; then
        wrong "$1: $2" "some files were replaced, others not"
    fi
}

# ended COMMAND...: runs it and says in `code` how it ended, without the shell's words about a kill.
ended() {
    ("$@" >"$log" 2>&1; exit $?) 2>/dev/null && code=0 || code=$?
}

parts() {
    find out . -maxdepth 2 -name '.gallop-*.part' | sort -u
}

# again COMMAND HOW: the next run works and leaves no part.
again() {
    # shellcheck disable=SC2086
    "$gallop" ${1% --force} --force >"$log" 2>&1 || wrong "$1: $2" "the next run failed"
    if [ -n "$(parts)" ]; then
        wrong "$1: $2" "the next run left $(parts)"
    fi
}

for command in "${commands[@]}"; do
    before "$command"
    sums >untouched
    # shellcheck disable=SC2086
    strace -f -qq -o trace -e trace="$(IFS=, && echo "${calls[*]}")" "$gallop" $command >"$log" 2>&1
    sums >complete
    failed=0 killed=0
    for call in "${calls[@]}"; do
        # Calls are counted by thread. Of those that open, only the ones that concern an output.
        mapfile -t places < <(awk -v call="$call(" -v opens="$([ "$call" = openat ] && echo 1)" \
            'index($0, " " call) && (++at[$1]) && (!opens || /O_CREAT|\.part/) { print at[$1] }' trace | sort -nu)
        for at in "${places[@]}"; do
            for how in error=ENOSPC error=EIO signal=KILL; do
                before "$command"
                # shellcheck disable=SC2086
                ended strace -f -qq -o /dev/null -e trace="$call" -e inject="$call:$how:when=$at" "$gallop" $command
                look "$command" "$call $at $how" "$code"
                case $code,$how in
                *,signal=KILL) killed=$((killed + 1)) ;;
                [0-6],* | 127,*) failed=$((failed + 1)) ;;
                *) wrong "$command: $call $at $how" "exit code $code" ;;
                esac
                if [ "$how" = signal=KILL ]; then
                    again "$command" "$call $at $how"
                elif [ "$call" != unlink ] && [ "$call" != unlinkat ] && [ "$call" != rmdir ] && [ "$call" != openat ] && [ -n "$(parts)" ]; then
                    wrong "$command: $call $at $how" "left $(parts)"
                fi
            done
        done
    done
    before "$command"
    start=$(date +%s%N)
    # shellcheck disable=SC2086
    "$gallop" $command >"$log" 2>&1
    took=$((($(date +%s%N) - start) / 1000))
    for ((at = 0; at < kills; at++)); do
        before "$command"
        micros=$(((RANDOM * 32768 + RANDOM) % took))
        # shellcheck disable=SC2086
        "$gallop" $command >"$log" 2>&1 &
        sleep "$(printf '%d.%06d' $((micros / 1000000)) $((micros % 1000000)))"
        # Its locks are gone when it is, which `timeout` does not wait for.
        kill -KILL $! 2>/dev/null || true
        wait $! 2>/dev/null && code=0 || code=$?
        look "$command" "killed after $micros us" "$code"
        again "$command" "killed after $micros us"
    done
    echo "$command: $failed failed calls, $killed kills at calls, $kills kills at random moments"
done
