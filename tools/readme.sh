#!/usr/bin/env bash
# Prints the README's commands, one per line: every line of its ```sh blocks that is neither a remark nor marked as
# needing what an ordinary machine lacks. CI runs what this prints; tests/tidy checks that nothing else is shown.
set -euo pipefail
cd "$(dirname "$0")/.."
awk '
    /^```sh[ \t]*$/ { inside = 1; next }
    /^```/ { inside = 0; next }
    inside && !/^#/ && !/^[ \t]*$/ && !/# needs (a GPU|weights)$/ { sub(/[ \t]+$/, ""); print }
' README.md
