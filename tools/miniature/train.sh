#!/usr/bin/env bash
# Trains the miniature, step by step, each resumable: run it again until every step has done its steps. Needs Rust, and
# python3 with PyTorch; a GPU is used if there is one. On two CPU cores it takes about two and a half hours, if steps run
# side by side: `video`, `audio` and `dit` need nothing of each other, `refine` lets the video decoder go on with what the
# denoising network makes. With OPTIONS more arguments for every training step, such as OPTIONS="--minutes 60"; STEPS
# names some of the steps: world video audio dit refine export.
#
#   OPTIONS="--minutes 200" tools/miniature/train.sh
#   OPTIONS="--minutes 30 --keep" tools/miniature/train.sh     # goes on from the weights in the program
#   STEPS="video" OPTIONS="--side 64" tools/miniature/train.sh
#
# Everything lies in out/miniature: checkpoints (*.pt) and of each network steps, seconds and figures (*.json). The step
# `export` puts the weights into the program's sources; what is trained there then is what the next build holds.
set -euo pipefail
cd "$(dirname "$0")/../.."
read -ra options <<<"${OPTIONS:-}"
work=out/miniature
for step in ${STEPS:-world video audio dit refine export}; do
    echo "== $step"
    case "$step" in
        world)
            # On a machine without Rust both programs are carried there.
            if command -v cargo >/dev/null; then
                cargo build --release --locked --manifest-path tools/miniature/world/Cargo.toml \
                    --target-dir target/world
                cargo build --release --locked
            fi
            mkdir -p "$work"
            [ -d "$work/model" ] || target/release/gallop dev synth --config miniature -o "$work/model"
            ;;
        video | audio | dit) python3 "tools/miniature/train_$step.py" "${options[@]}" ;;
        refine) python3 tools/miniature/train_video.py --own 4 --steps 7900 "${options[@]}" ;;
        export)
            python3 tools/miniature/export.py
            target/world/release/world vocabulary >src/pipeline/miniature/words.txt
            ;;
        *)
            echo "unknown step: $step" >&2
            exit 2
            ;;
    esac
done
echo "done: weights in src/pipeline/miniature, and what they took in $work/*.json"
