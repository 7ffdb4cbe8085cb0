//! Which latent frames each call of the TurboVAED decoder takes, and which of its frames are kept. Reference:
//! `model/turbo_vaed/turbo_vaed_module.py`, `TurboVAED._sliding_window_decode`.
//!
//! A call sees one latent frame of context on each side and drops the frames decoded from it. That is less than the
//! receptive field, so another split gives other numbers.

use std::ops::Range;

use super::TurboConfig;
use crate::Tensor;

/// The calls that decode a latent of some number of frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunks {
    /// Latent frames of the video. Frames beyond repeat the last.
    pub latents: usize,
    /// The calls in the order of their frames; they are independent.
    pub calls: Vec<DecoderCall>,
}

/// One call of the decoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecoderCall {
    /// Latent frames it decodes; those beyond the end repeat the last.
    pub latents: Range<usize>,
    /// Whether it starts the video: its first latent frame gives one frame instead of four.
    pub first: bool,
    /// The frames to keep of those it gives.
    pub keep: Range<usize>,
}

impl Chunks {
    /// The calls for `latents` latent frames.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(config: &TurboConfig, latents: usize) -> Self {
        assert!(latents > 0, "a video has at least one latent frame");
        let (first, step, ratio) = (config.first_chunk, config.step, config.temporal_ratio());
        let steps = latents.saturating_sub(first).div_ceil(step);
        let padded = first + steps * step;
        let mut calls = vec![DecoderCall {
            latents: 0..padded.min(first + 1),
            first: true,
            keep: 0..ratio * (first - 1) + 1,
        }];
        calls.extend((first..padded).step_by(step).map(|start| DecoderCall {
            latents: start - 1..padded.min(start + step + 1),
            first: false,
            keep: ratio..ratio * (step + 1),
        }));
        if let Some(last) = calls.last_mut() {
            last.keep.end -= ratio * (padded - latents);
        }
        Self { latents, calls }
    }

    /// Indices of the latent frames of `call`, those beyond the end replaced by the last.
    pub fn latents_of(&self, call: &DecoderCall) -> impl ExactSizeIterator<Item = usize> + use<> {
        let last = self.latents - 1;
        call.latents.clone().map(move |frame| frame.min(last))
    }

    /// Frames of the whole video: one for the first latent frame, and four for every other.
    pub fn frames(&self) -> usize {
        self.calls.iter().map(|call| call.keep.len()).sum()
    }
}

impl DecoderCall {
    /// The frames to keep of all that a call gave: `[frames, ..]` to fewer frames.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn kept(&self, made: &Tensor) -> Tensor {
        let mut extents = made.shape().extents().to_vec();
        let per_frame = made.bytes().len() / extents[0];
        extents[0] = self.keep.len();
        let kept = &made.bytes()[self.keep.start * per_frame..self.keep.end * per_frame];
        Tensor::from_bytes(extents.as_slice(), made.dtype(), kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latent frames, then per call the latent frames and the frames it keeps of the padded video.
    const TABLE: &[(usize, &[(usize, usize)])] = &[
        (1, &[(7, 25)]),
        (3, &[(7, 25)]),
        (7, &[(7, 25)]),
        (8, &[(8, 25), (8, 28)]),
        (9, &[(8, 25), (8, 28)]),
        (26, &[(8, 25), (9, 28), (9, 28), (8, 28)]),
        (32, &[(8, 25), (9, 28), (9, 28), (9, 28), (8, 28)]),
        (
            63,
            &[
                (8, 25),
                (9, 28),
                (9, 28),
                (9, 28),
                (9, 28),
                (9, 28),
                (9, 28),
                (9, 28),
                (8, 28),
            ],
        ),
    ];

    #[test]
    fn calls_are_those_of_the_published_table() {
        let config = TurboConfig::published();
        for (latents, expected) in TABLE {
            let chunks = Chunks::new(&config, *latents);
            let padded: usize = expected.iter().map(|(_, kept)| kept).sum();
            let mut calls: Vec<(usize, usize)> = chunks
                .calls
                .iter()
                .map(|call| (call.latents.len(), call.keep.len()))
                .collect();
            assert_eq!(chunks.frames(), 4 * latents - 3, "{latents} latent frames");
            // The last call lacks the frames of the padding.
            calls.last_mut().unwrap().1 += padded - chunks.frames();
            assert_eq!(&calls, expected, "{latents} latent frames");
        }
    }

    #[test]
    fn kept_frames_follow_one_another() {
        for (first, step) in [(7, 7), (3, 2), (1, 1), (2, 5)] {
            let config = TurboConfig {
                first_chunk: first,
                step,
                ..TurboConfig::published()
            };
            for latents in 1..30 {
                let mut next = 0;
                for call in Chunks::new(&config, latents).calls {
                    let made = 4 * call.latents.len() - if call.first { 3 } else { 0 };
                    assert!(call.keep.end <= made, "{call:?} makes {made}");
                    // Latent frame k makes frames 4k - 3 to 4k; in the call that starts the video frame 0 is first.
                    let before = if call.first { 0 } else { 3 };
                    let start = 4 * call.latents.start + call.keep.start;
                    assert_eq!(start, next + before, "{call:?}");
                    next += call.keep.len();
                }
                assert_eq!(next, 4 * latents - 3);
            }
        }
    }
}
