//! How a long voice track is cut into overlapping windows, and how long its latent is.

use std::ops::Range;

/// Samples of a window: 29 s at 51 200 Hz.
pub const WINDOW: usize = 29 * 51_200;

/// The windows of a track of `samples` samples: the whole track if it fits into one; otherwise [`WINDOW`] samples
/// each, the last of which may lie beyond the end (zeros), every half window until one reaches the end.
///
/// The reference then places windows of 725 latents 363 apart although they start 362.5 latents of sound apart,
/// so each is half a latent later than the one before; so do we.
pub fn windows(samples: usize) -> Vec<Range<usize>> {
    if samples <= WINDOW {
        return vec![0..samples];
    }
    let hop = WINDOW / 2;
    let more = (samples - WINDOW).div_ceil(hop);
    (0..=more).map(|b| b * hop..b * hop + WINDOW).collect()
}

/// Latents of a track of `samples` samples: whole hops if it is one window, else the last may be partial.
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
        assert_eq!(windows(204_800), [0..204_800]);
        assert_eq!(latents(204_800 + 2047, 2048), 100);
        assert_eq!(windows(WINDOW), [0..WINDOW]);
        assert_eq!(latents(WINDOW, 2048), 725);
        let starts = |samples| -> Vec<usize> { windows(samples).iter().map(|w| w.start).collect() };
        assert_eq!(starts(WINDOW + 1), [0, 742_400]);
        assert_eq!(starts(2 * WINDOW - 742_400), [0, 742_400]);
        assert_eq!(starts(2 * WINDOW - 742_399), [0, 742_400, 1_484_800]);
        assert_eq!(latents(2_000_000, 2048), 977);
    }
}
