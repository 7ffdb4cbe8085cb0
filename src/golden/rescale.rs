//! Frames resized by the reference's interpolation without antialiasing (`pipeline/video_process.py`,
//! `upsample_video`).

use rayon::prelude::*;

/// How an output pixel is interpolated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Interpolation {
    /// The nearest input pixel.
    Nearest,
    /// Linear over 2x2 pixels.
    Bilinear,
    /// Keys' cubic (a = -0.75) over 4x4 pixels.
    Bicubic,
}

/// RGB frames u8 `[frames, from[0], from[1], 3]` resized to `to`; sizes are `[height, width]`. Half-pixel centres,
/// repeated borders, f32 arithmetic on `value / 255`, truncation to bytes.
///
/// # Panics
/// If `frames` is not a whole number of frames or a size is zero.
pub(super) fn rescale(
    frames: &[u8],
    from: [usize; 2],
    to: [usize; 2],
    mode: Interpolation,
) -> Vec<u8> {
    let [height, width] = from;
    let in_frame = 3 * height * width;
    let out_frame = 3 * to[0] * to[1];
    assert!(
        in_frame > 0 && out_frame > 0 && frames.len().is_multiple_of(in_frame),
        "{} bytes of {width}x{height} frames to {to:?}",
        frames.len()
    );
    if from == to {
        return frames.to_vec();
    }
    let rows = taps(height, to[0], mode);
    let columns = taps(width, to[1], mode);
    let mut out = vec![0; frames.len() / in_frame * out_frame];
    out.par_chunks_mut(3 * to[1])
        .enumerate()
        .for_each(|(line, to_row)| {
            let frame = &frames[line / rows.len() * in_frame..][..in_frame];
            let row = &rows[line % rows.len()];
            for (pixel, column) in to_row.chunks_exact_mut(3).zip(&columns) {
                for (channel, value) in pixel.iter_mut().enumerate() {
                    *value = sample(frame, width, [row, column], channel);
                }
            }
        });
    out
}

/// The inputs of an output position along an axis, with their weights: 1, 2 or 4.
type Tap = Vec<(usize, f32)>;

fn sample(frame: &[u8], width: usize, [row, column]: [&Tap; 2], channel: usize) -> u8 {
    let mut sum = 0.0_f32;
    for &(y, wy) in row {
        let line: f32 = column
            .iter()
            .map(|&(x, wx)| wx * (f32::from(frame[3 * (y * width + x) + channel]) / 255.0))
            .sum();
        sum += wy * line;
    }
    (sum.clamp(0.0, 1.0) * 255.0) as u8
}

fn taps(n: usize, m: usize, mode: Interpolation) -> Vec<Tap> {
    let scale = n as f32 / m as f32;
    let last = n - 1;
    let clamp = |i: isize| usize::try_from(i).unwrap_or(0).min(last);
    let tap = |i: usize| match mode {
        Interpolation::Nearest => vec![(((i as f32 * scale) as usize).min(last), 1.0)],
        Interpolation::Bilinear => {
            let at = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
            let (first, t) = (at as usize, at.fract());
            vec![(first.min(last), 1.0 - t), ((first + 1).min(last), t)]
        }
        Interpolation::Bicubic => {
            let at = (i as f32 + 0.5) * scale - 0.5;
            let (first, t) = (at.floor() as isize, at - at.floor());
            (-1..=2)
                .map(|k| (clamp(first + k), cubic((t - k as f32).abs())))
                .collect()
        }
    };
    (0..m).map(tap).collect()
}

/// Keys' kernel at distance `x`.
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.75;
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}
