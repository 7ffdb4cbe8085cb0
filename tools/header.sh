#!/usr/bin/env bash
# Makes src/ffi/gallop.h from the Rust files beside it, or with --check says whether it would change.
set -euo pipefail
cd "$(dirname "$0")/.."

header=src/ffi/gallop.h
made=$(mktemp)
trap 'rm -f "$made"' EXIT
cargo run --quiet --locked --manifest-path tools/gen-header/Cargo.toml --target-dir target/gen-header \
    -- src/ffi/{status,log,state,request,exports}.rs >"$made"
if [ "${1:-}" != --check ]; then
    cp "$made" "$header"
elif diff -u "$header" "$made"; then
    echo "$header is what src/ffi gives"
else
    echo "$header is out of date: run tools/header.sh" >&2
    exit 1
fi
