//! How a long voice track is cut into overlapping windows, and the length of its latent. Reference:
//! `pipeline/video_process.py`, `load_audio_and_encode`.

use std::ops::Range;

/// Samples of a window: 29 s at 51 200 Hz.
pub const WINDOW: usize = 29 * 51_200;

/// The windows of a track of `samples` samples at 51 200 Hz. A track that fits into [`WINDOW`] is one window.
/// Otherwise a window of [`WINDOW`] samples starts every half window until one reaches the end; what it holds beyond
/// the end is zeros.
///
/// The latents of successive windows start 362.5 latents apart, but the reference places them 363 apart, so each comes
/// half a latent later than the one before. We do the same.
pub fn windows(samples: usize) -> Vec<Range<usize>> {
    let (length, step) = (samples.min(WINDOW), WINDOW / 2);
    let more = (samples - length).div_ceil(step);
    (0..=more).map(|b| b * step..b * step + length).collect()
}

/// Latents of a track of `samples` samples. In a single window a last partial hop is dropped, with several it counts.
pub fn latents(samples: usize, hop: usize) -> usize {
    if samples <= WINDOW {
        samples / hop
    } else {
        samples.div_ceil(hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_every_half_until_one_reaches_the_end() {
        for (samples, length, count) in [
            (204_800, 204_800, 1),
            (WINDOW, WINDOW, 1),
            (WINDOW + 1, WINDOW, 2),
            (WINDOW + 742_400, WINDOW, 2),
            (WINDOW + 742_401, WINDOW, 3),
        ] {
            let expected: Vec<Range<usize>> = (0..count)
                .map(|b| b * 742_400..b * 742_400 + length)
                .collect();
            assert_eq!(windows(samples), expected);
        }
    }

    #[test]
    fn a_long_track_keeps_its_last_part_of_a_latent() {
        assert_eq!(latents(204_800 + 2047, 2048), 100);
        assert_eq!(latents(WINDOW, 2048), 725);
        assert_eq!(latents(2_000_000, 2048), 977);
    }
}
