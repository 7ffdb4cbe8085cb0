#!/usr/bin/env bash
# Asks ffprobe, a reader that is not ours, whether clips are what they should be: H.264 yuv420p at 25 frames a second
# and AAC stereo at 44.1 kHz, both starting at 0, every packet decodable. Usage: tools/probe.sh CLIP...
set -euo pipefail

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
    echo "$clip: H.264 $(field "$clip" v:0 width)x$(field "$clip" v:0 height)," \
        "$(field "$clip" v:0 duration) s of picture, $(field "$clip" a:0 duration) s of sound"
done
