#!/usr/bin/env bash
# Asks ffprobe, a reader that is not ours, whether clips are what they should be: H.264 yuv420p at 25 frames a second
# and AAC stereo at 44.1 kHz, both starting at 0, every packet decodable. Asks mediabunny, which counts
# samples where ffprobe believes edit lists, whether it has the same lengths (tools/setup.sh reader gets it). Usage: tools/probe.sh CLIP...
set -euo pipefail
reader=$(dirname "$0")/../.cuda/reader

# field CLIP STREAM NAME
field() {
    ffprobe -v error -select_streams "$2" -show_entries "stream=$3" -of default=nokey=1:noprint_wrappers=1 "$1"
}

# expect CLIP STREAM NAME VALUE
expect() {
    local found
    found=$(field "$1" "$2" "$3")
    if [ "$found" != "$4" ]; then
        echo "$1: $3 of stream $2 must be $4; found ${found:-nothing}" >&2
        exit 1
    fi
}

# lengths CLIP: of each track as mediabunny has it, to the microsecond as ffprobe prints it
lengths() {
    local program clip
    program=$(head -n 1 "$reader/READY")
    clip=$(realpath "$1")
    cd "$reader"
    "$program" --input-type=module - "$clip" <<'END'
import { Input, ALL_FORMATS, FilePathSource } from "mediabunny";
const input = new Input({ formats: ALL_FORMATS, source: new FilePathSource(process.argv[2]) });
for (const track of [await input.getPrimaryVideoTrack(), await input.getPrimaryAudioTrack()])
    console.log((await track.computeDuration()).toFixed(6));
END
}

if [ ! -f "$reader/READY" ]; then
    echo "no second reader looks at the lengths: tools/setup.sh reader gets it"
fi
for clip in "$@"; do
    expect "$clip" v:0 codec_name h264
    expect "$clip" v:0 pix_fmt yuv420p
    expect "$clip" v:0 avg_frame_rate 25/1
    expect "$clip" v:0 start_time 0.000000
    expect "$clip" a:0 codec_name aac
    expect "$clip" a:0 sample_rate 44100
    expect "$clip" a:0 channels 2
    expect "$clip" a:0 start_time 0.000000
    problems=$(ffprobe -v error -count_frames -show_entries stream=nb_read_frames -of csv "$clip" 2>&1 >/dev/null)
    if [ -n "$problems" ]; then
        printf '%s does not decode cleanly:\n%s\n' "$clip" "$problems" >&2
        exit 1
    fi
    if [ -f "$reader/READY" ]; then
        found=$(lengths "$clip")
        expected=$(field "$clip" v:0 duration; field "$clip" a:0 duration)
        if [ "$found" != "$expected" ]; then
            echo "$clip: mediabunny has lengths of" $found "s, ffprobe of" $expected "s" >&2
            exit 1
        fi
    fi
    echo "$clip: H.264 $(field "$clip" v:0 width)x$(field "$clip" v:0 height)," \
        "$(field "$clip" v:0 duration) s of picture, $(field "$clip" a:0 duration) s of sound"
done
