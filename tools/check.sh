#!/usr/bin/env bash
# The one gate: format, lints, tests, documentation. CI runs this file; `tools/check.sh fast` is its fast half, which
# tools/hooks/pre-commit runs.
set -euo pipefail
cd "$(dirname "$0")/.."

part() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name: $*"
    "$@"
    echo "== $name: $((SECONDS - start)) s"
}

part format cargo fmt --check
part format cargo fmt --check --manifest-path tools/gen-bindings/Cargo.toml
part format cargo fmt --check --manifest-path tools/gen-header/Cargo.toml
part format cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
part format cargo fmt --check --manifest-path tools/miniature/world/Cargo.toml
part lints cargo clippy --release --all-targets --locked -- -D warnings
part lints cargo clippy --release --all-targets --locked --manifest-path tools/miniature/world/Cargo.toml \
    --target-dir target/world -- -D warnings
if [ "${1:-all}" = fast ]; then
    part tidy cargo test --release --locked --test tidy
    exit
fi
part tests cargo test --release --locked
part world cargo test --release --locked --manifest-path tools/miniature/world/Cargo.toml --target-dir target/world
RUSTDOCFLAGS="-D warnings" part docs cargo doc --release --lib --no-deps --locked
