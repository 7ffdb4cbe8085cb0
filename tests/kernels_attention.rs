//! `kernels/sm90/attention.cu`, run on the CPU by the emulator of `tests/emulate`, against the ops of the CPU executor: tails
//! of queries and keys, ranges that start and end anywhere, shared key heads, gates.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    dead_code,
    unsafe_code,
    reason = "a test stops at the first surprise and says what it ran; the emulator is a C library"
)]

#[path = "kernels/attention.rs"]
mod attention;
mod emulate;
#[path = "kernels/find.rs"]
mod find;
#[path = "common/in_memory.rs"]
mod in_memory;
#[path = "kernels/judge.rs"]
mod judge;
#[path = "kernels/attention_mistakes.rs"]
mod mistakes;
#[path = "common/random.rs"]
mod random;
#[path = "common/run.rs"]
mod run;

use std::ops::Range;

use gallop::plan::MaskBlock;

use attention::Case;

/// Seeds of every kernel test, each under three policies.
const SEEDS: u64 = 10;

/// One head whose `queries` rows see `keys`.
fn one_head(queries: usize, keys: impl IntoIterator<Item = Range<usize>>) -> Case {
    Case {
        heads: 1,
        kv_heads: 1,
        gate: false,
        windows: vec![MaskBlock::new(0..queries, keys)],
        grid: 1,
    }
}

/// Frames of `per_frame` rows that see the frames at most `window_radius` away and `rest` rows behind the
/// last frame, which see everything.
fn local(frames: usize, per_frame: usize, window_radius: usize, rest: usize) -> Vec<MaskBlock> {
    let (video, all) = (frames * per_frame, frames * per_frame + rest);
    let mut windows: Vec<MaskBlock> = (0..frames)
        .map(|i| {
            let near = i.saturating_sub(window_radius)..(i + window_radius + 1).min(frames);
            let near = near.start * per_frame..near.end * per_frame;
            MaskBlock::new(i * per_frame..(i + 1) * per_frame, [near, video..all])
        })
        .collect();
    windows.push(MaskBlock::new(video..all, [0..all]));
    windows
}

#[test]
fn any_number_of_queries() {
    for queries in [1, 63, 64, 65, 128, 129, 200] {
        one_head(queries, [0..250]).check();
    }
}

#[test]
fn any_number_of_keys() {
    for keys in [1, 2, 111, 112, 113, 224, 225, 336, 337, 700] {
        one_head(70, [0..keys]).check();
    }
}

#[test]
fn ranges_of_keys_that_start_and_end_anywhere() {
    one_head(66, [13..200, 250..263, 500..501]).check();
    one_head(66, [1..113, 114..339]).check();
    one_head(66, [300..301, 450..600]).check();
}

#[test]
fn heads_that_share_keys_and_gates() {
    for (heads, kv_heads, gate) in [(5, 1, true), (4, 2, false), (4, 2, true)] {
        Case {
            heads,
            kv_heads,
            gate,
            grid: 3,
            ..one_head(130, [0..180])
        }
        .check();
    }
}

#[test]
fn windows_of_frames_with_other_rows_behind_them() {
    Case {
        heads: 2,
        gate: true,
        windows: local(4, 150, 1, 37),
        grid: 2,
        ..one_head(1, [])
    }
    .check();
}
