#!/usr/bin/env bash
# Makes src/cuda/gpu/params.rs from kernels/params.h, or with --check says whether it would change. Needs libclang
# (tools/setup.sh bindings); without one, --check says so and passes, because plain builds never need it.
set -euo pipefail
cd "$(dirname "$0")/.."

bindings=src/cuda/gpu/params.rs
if [ -z "${LIBCLANG_PATH:-}" ]; then
    found=$(find .cuda/clang/clang/native /usr/lib/llvm-*/lib /usr/lib/x86_64-linux-gnu -name 'libclang*.so*' 2>/dev/null | head -n 1) || true
    if [ -z "$found" ]; then
        echo "no libclang: tools/setup.sh bindings gets one, or set LIBCLANG_PATH to its folder" >&2
        [ "${1:-}" = --check ] && { echo "$bindings was not checked"; exit 0; }
        exit 1
    fi
    LIBCLANG_PATH=$(dirname "$found")
    export LIBCLANG_PATH
fi

made=$(mktemp)
trap 'rm -f "$made"' EXIT
cargo run --quiet --locked --manifest-path tools/gen-bindings/Cargo.toml --target-dir target/gen-bindings \
    -- kernels/params.h | rustfmt --edition 2024 >"$made"
if [ "${1:-}" != --check ]; then
    cp "$made" "$bindings"
elif diff -u "$bindings" "$made"; then
    echo "$bindings is what kernels/params.h gives"
else
    echo "$bindings is out of date: run tools/bindings.sh" >&2
    exit 1
fi
