#!/usr/bin/env bash
# Trains the miniature, step by step, each resumable: run it again until it says that all is done. Needs python3 with
# PyTorch; estimated, not measured: half an hour on a GPU, days on two cores. With OPTIONS more arguments for every
# training step, such as OPTIONS="--minutes 60"; STEPS names some of the steps: world video audio latents dit export.
#
#   tools/miniature/train.sh
#   STEPS="video audio" OPTIONS="--side 64" tools/miniature/train.sh
#
# Everything lies in out/miniature: checkpoints (*.pt), record.json with steps, seconds and figures, trained/ at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."
read -ra options <<<"${OPTIONS:-}"
work=out/miniature
for step in ${STEPS:-world video audio latents dit export}; do
    echo "== $step"
    case "$step" in
        world)
            # On a machine without Rust both programs are carried there.
            if command -v cargo >/dev/null; then
                cargo build --release --locked --manifest-path tools/miniature/world/Cargo.toml --target-dir target/world
                cargo build --release --locked
            fi
            [ -d "$work/model" ] || target/release/gallop synth --config miniature -o "$work/model"
            ;;
        video | audio | dit) python3 "tools/miniature/train_$step.py" "${options[@]}" ;;
        latents) [ -f "$work/latents.pt" ] || python3 tools/miniature/make_latents.py "${options[@]}" ;;
        export) python3 tools/miniature/export.py ;;
        *)
            echo "unknown step: $step" >&2
            exit 2
            ;;
    esac
done
echo "done: $work/trained, and what it took in $work/record.json"
