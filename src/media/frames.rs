//! Decoded video to 8-bit frames.

use rayon::prelude::*;

/// A sample of nominal range [-1, 1] as a byte: clamped, scaled in f32, truncated (not rounded). NaN becomes 0.
/// Reference: `pipeline/video_generate.py`, `MagiEvaluator.post_process`.
fn byte(x: f32) -> u8 {
    ((0.5 * x + 0.5).clamp(0.0, 1.0) * 255.0) as u8
}

/// Planar f32 video `[3, frames, height, width]` in [-1, 1] to RGB bytes `[frames, height, width, 3]`.
///
/// # Panics
/// If `x` has another length.
pub fn to_u8(x: &[f32], frames: usize, height: usize, width: usize) -> Vec<u8> {
    let pixels = height * width;
    assert_eq!(
        x.len(),
        3 * frames * pixels,
        "video [3, {frames}, {height}, {width}]"
    );
    let mut out = vec![0; x.len()];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(3 * pixels)
        .enumerate()
        .for_each(|(frame, to)| {
            for channel in 0..3 {
                let from = &x[(channel * frames + frame) * pixels..][..pixels];
                for (pixel, &value) in to.chunks_exact_mut(3).zip(from) {
                    pixel[channel] = byte(value);
                }
            }
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_clamped_and_truncated() {
        let x = [-2.0, 0.999, 3.0, -1.0, 1.0, f32::NAN, 0.0, 0.5, -0.5];
        assert_eq!(to_u8(&x, 1, 1, 3), [0, 0, 127, 254, 255, 191, 255, 0, 63]);
    }
}
