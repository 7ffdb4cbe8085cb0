//! 16-bit PCM and the WAV file around it.

use crate::{Error, Result};

use super::clip::SAMPLE_RATE;

/// Bytes of the header that [`write_wav`] writes.
const HEADER_BYTES: u32 = 44;

/// f32 samples of nominal range [-1, 1] as 16-bit integers: `floor(x * 32768)`, clamped. NaN becomes 0.
pub fn pcm16(wave: &[f32]) -> Vec<i16> {
    // The cast saturates.
    wave.iter().map(|&x| (x * 32768.0).floor() as i16).collect()
}

/// Writes f32 `[samples, channels]` at 44.1 kHz as a 16-bit WAV, which `write` gets piece by piece.
///
/// # Errors
/// [`Error::Output`] if the audio exceeds a WAV's 4 GiB; those of `write`.
pub fn write_wav(
    wave: &[f32],
    channels: u16,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let data_bytes = u32::try_from(2 * wave.len())
        .ok()
        .filter(|&bytes| bytes <= u32::MAX - HEADER_BYTES)
        .ok_or_else(|| {
            Error::output(
                "the sound",
                "is longer than the 4 GiB of a WAV file; make the clip shorter",
            )
        })?;
    write(&header(data_bytes, channels))?;
    let bytes: Vec<u8> = pcm16(wave).iter().flat_map(|v| v.to_le_bytes()).collect();
    write(&bytes)
}

fn header(data_bytes: u32, channels: u16) -> Vec<u8> {
    let rate = SAMPLE_RATE as u32;
    let sample_bytes = 2 * channels;
    let mut header = Vec::with_capacity(HEADER_BYTES as usize);
    header.extend(b"RIFF");
    header.extend((HEADER_BYTES - 8 + data_bytes).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend(1_u16.to_le_bytes());
    header.extend(channels.to_le_bytes());
    header.extend(rate.to_le_bytes());
    header.extend((rate * u32::from(sample_bytes)).to_le_bytes());
    header.extend(sample_bytes.to_le_bytes());
    header.extend(16_u16.to_le_bytes());
    header.extend(b"data");
    header.extend(data_bytes.to_le_bytes());
    header
}
