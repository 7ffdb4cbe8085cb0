//! A picture or a sound in the caller's memory becomes a file in memory, so that it is read and checked as all others
//! are.

use super::status::Failure;
use crate::{error::Field, pipeline::request::Input};

/// Pixels as a PNG.
///
/// # Errors
/// If there are none, or not as many as `width` and `height` say.
pub(super) fn picture(rgb: &[u8], width: u32, height: u32) -> Result<Input, Failure> {
    let problem = |e: png::EncodingError| Failure::argument("image_rgb", &e.to_string());
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::NoCompression);
    let mut writer = encoder.write_header().map_err(problem)?;
    writer.write_image_data(rgb).map_err(problem)?;
    writer.finish().map_err(problem)?;
    let name = Field::Image.name().into();
    Ok(Input::Bytes { name, bytes })
}

/// Samples, `channels` by turns, as a WAV of f32.
///
/// # Errors
/// If they do not fit into one.
pub(super) fn sound(samples: &[f32], rate: u32, channels: u16) -> Result<Input, Failure> {
    const SAMPLE_BYTES: u16 = 4;
    const HEAD_BYTES: u32 = 44;
    let too_long = || Failure::argument("audio_frames", "is more than the 4 GiB of a WAV file");
    let bytes = samples.len().checked_mul(SAMPLE_BYTES.into());
    let data_bytes = bytes.and_then(|bytes| u32::try_from(bytes).ok());
    let data_bytes = data_bytes.filter(|&bytes| bytes <= u32::MAX - HEAD_BYTES);
    let data_bytes = data_bytes.ok_or_else(too_long)?;
    let frame_bytes = channels * SAMPLE_BYTES;
    let mut file = Vec::with_capacity((HEAD_BYTES + data_bytes) as usize);
    file.extend(b"RIFF");
    file.extend((HEAD_BYTES - 8 + data_bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    // Floating point.
    file.extend(3_u16.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.saturating_mul(frame_bytes.into()).to_le_bytes());
    file.extend(frame_bytes.to_le_bytes());
    file.extend((8 * SAMPLE_BYTES).to_le_bytes());
    file.extend(b"data");
    file.extend(data_bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    let name = Field::Audio.name().into();
    Ok(Input::Bytes { name, bytes: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_and_a_sound_are_read_as_they_were_given() {
        let rgb: Vec<u8> = (0..5 * 3 * 3).collect();
        let image = picture(&rgb, 5, 3).unwrap().open_image().unwrap();
        assert_eq!((image.width, image.height, image.rgb), (5, 3, rgb));
        let samples: Vec<f32> = (0..2 * 5120).map(|i| (i % 64) as f32 / 64.0).collect();
        let voice = sound(&samples, 51_200, 2).unwrap().open_voice(1.0).unwrap();
        assert_eq!(voice.samples.len(), 5120);
        let mean = f32::midpoint(samples[6], samples[7]);
        assert_eq!(voice.samples[3], mean);
        for (rate, channels) in [(0, 1), (48_000, 3), (4_000_000_000, 1), (48_000, 0)] {
            let bad = sound(&[0.0; 12], rate, channels).unwrap().open_voice(1.0);
            let text = bad.unwrap_err().to_string();
            assert!(
                text.contains("audio_reference"),
                "{rate} {channels}: {text}"
            );
        }
        assert!(picture(&[0; 3], 5, 3).is_err() && picture(&[], 0, 0).is_err());
        let nan = sound(&[f32::NAN; 99], 48_000, 1).unwrap().open_voice(1.0);
        assert!(nan.is_err());
    }
}
