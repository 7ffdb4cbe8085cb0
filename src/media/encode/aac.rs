//! AAC-LC by `syom`.

use syom::{AacError, EncodeContainer, EncodeOptions, Encoder};

use crate::{Error, Result, media::clip::SAMPLE_RATE};

/// Samples per channel of one AAC frame.
pub const AAC_FRAME: usize = 1024;
/// Samples that a decoder puts out before the first one of the input.
pub const AAC_DELAY: usize = 1024;
/// Bits per second.
const BIT_RATE: u32 = 192_000;

/// Encoded audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AacStream {
    /// The `AudioSpecificConfig` that a decoder starts from.
    pub config: Vec<u8>,
    /// Raw frames of [`AAC_FRAME`] samples; together they cover [`AAC_DELAY`] samples more than the input.
    pub frames: Vec<Vec<u8>>,
    /// Samples per channel of the input.
    pub samples: usize,
}

/// Encodes interleaved stereo f32 `[samples, 2]` at 44.1 kHz. Values outside [-1, 1] are clamped, as 16-bit output
/// would; NaN becomes silence.
///
/// # Errors
/// [`Error::Device`] if the encoder fails.
///
/// # Panics
/// If `audio` is empty or holds half a sample.
pub fn encode_aac(audio: &[f32]) -> Result<AacStream> {
    assert!(
        !audio.is_empty() && audio.len().is_multiple_of(2),
        "{} values of stereo sound",
        audio.len()
    );
    let plane = |channel: usize| -> Vec<f32> {
        audio[channel..]
            .iter()
            .step_by(2)
            .map(|&x| if x.is_nan() { 0.0 } else { x.clamp(-1.0, 1.0) })
            .collect()
    };
    let (left, right) = (plane(0), plane(1));
    let options = EncodeOptions::default()
        .with_container(EncodeContainer::Raw)
        .with_bitrate_bps(BIT_RATE);
    let mut encoder = Encoder::new(SAMPLE_RATE as u32, 2, &options).map_err(|e| failed(&e))?;
    let mut frames = Vec::new();
    encoder
        .feed(&[&left, &right], |frame| {
            frames.push(frame.payload.to_vec());
            Ok(())
        })
        .map_err(|e| failed(&e))?;
    encoder
        .finish(|frame| {
            frames.push(frame.payload.to_vec());
            Ok(())
        })
        .map_err(|e| failed(&e))?;
    Ok(AacStream {
        config: encoder.asc().to_vec(),
        frames,
        samples: left.len(),
    })
}

fn failed(error: &AacError) -> Error {
    Error::device(format!("the AAC encoder failed: {error}"))
}
