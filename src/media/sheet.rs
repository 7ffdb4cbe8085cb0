//! A clip as one image: some of its frames in a row, and below each the waveform of its time.

use super::{Clip, Image, output::AtomicFile, resize_lanczos};
use crate::{Error, Result};

/// Frames shown.
const SHOWN: usize = 8;
/// Most pixels of a frame's longer side.
const FRAME: usize = 160;
/// Height of the waveform, pixels.
const WAVE: usize = 96;
/// Gap between frames, pixels.
const GAP: usize = 2;

const PAPER: [u8; 3] = [18, 18, 20];
const INK: [u8; 3] = [120, 190, 255];
const AXIS: [u8; 3] = [70, 70, 76];

/// Draws `clip` and writes the image to `file` as PNG. Each frame stands for the part of the clip that begins with it.
/// The waveform below shows the largest magnitude of each column's time, left channel up, right channel down.
///
/// # Errors
/// [`Error::Output`] if it cannot be written.
///
/// # Panics
/// If the clip has no frames.
pub fn write_sheet(file: &mut AtomicFile, clip: &Clip<'_>) -> Result<()> {
    let picture = draw(clip);
    let fail = |error: png::EncodingError| {
        Error::output(file.path(), format!("cannot be written: {error}"))
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(&picture.rgb).map_err(fail)?;
    writer.finish().map_err(fail)?;
    file.write(&bytes)
}

fn draw(clip: &Clip<'_>) -> Image {
    let bytes = 3 * clip.width * clip.height;
    let count = clip.frames.len() / bytes;
    assert!(count > 0, "a clip without frames");
    let shown = SHOWN.min(count);
    let longer = clip.width.max(clip.height);
    let side = |extent: usize| (extent * FRAME.min(longer) / longer).max(1);
    let (width, height) = (side(clip.width), side(clip.height));
    let step = width + GAP;
    let mut sheet = Image {
        name: String::new(),
        width: shown * step - GAP,
        height: height + GAP + WAVE,
        rgb: Vec::new(),
        is_transparent: false,
    };
    sheet.rgb = PAPER.repeat(sheet.width * sheet.height);
    for index in 0..shown {
        let at = index * count / shown * bytes;
        let frame = Image {
            name: String::new(),
            width: clip.width,
            height: clip.height,
            rgb: clip.frames[at..at + bytes].to_vec(),
            is_transparent: false,
        };
        let small = resize_lanczos(&frame, width, height);
        for (row, pixels) in small.rgb.chunks_exact(3 * width).enumerate() {
            let to = 3 * (row * sheet.width + index * step);
            sheet.rgb[to..to + 3 * width].copy_from_slice(pixels);
        }
    }
    for column in 0..sheet.width {
        let loudest = loudest(clip.audio, column, sheet.width);
        let middle = WAVE / 2;
        let reach = ((WAVE / 2 - 2) as f32 * loudest.min(1.0)).round() as usize;
        for row in middle - reach..=middle + reach {
            let color = if loudest > 0.0 && reach > 0 {
                INK
            } else {
                AXIS
            };
            let at = 3 * ((height + GAP + row) * sheet.width + column);
            sheet.rgb[at..at + 3].copy_from_slice(&color);
        }
    }
    sheet
}

/// The largest magnitudes of the left and right samples in one of `columns` equal parts.
fn loudest(audio: &[f32], column: usize, columns: usize) -> f32 {
    let samples = audio.len() / 2;
    let part = 2 * (column * samples / columns)..2 * ((column + 1) * samples / columns);
    audio[part].iter().fold(0.0, |most, x| x.abs().max(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stand_over_their_sound() {
        // Sixteen frames that grow lighter, with sound in the second half only.
        let (width, height) = (20, 10);
        let frames: Vec<u8> = (0..16_u8)
            .flat_map(|t| vec![t * 16; 3 * width * height])
            .collect();
        let audio: Vec<f32> = (0..2 * 1600)
            .map(|i| if i < 1600 { 0.0 } else { -0.5 })
            .collect();
        let clip = Clip {
            width,
            height,
            frames: &frames,
            audio: &audio,
        };
        let sheet = draw(&clip);
        assert_eq!((sheet.width, sheet.height), (8 * 22 - 2, 10 + 2 + WAVE));
        let pixel = |row: usize, column: usize| {
            let at = 3 * (row * sheet.width + column);
            [0, 1, 2].map(|channel| sheet.rgb[at + channel])
        };
        assert_eq!(pixel(5, 10), [0; 3]);
        assert_eq!(pixel(5, 7 * 22 + 10), [14 * 16; 3]);
        let quarter = height + GAP + WAVE / 2 - WAVE / 8;
        assert_eq!(pixel(quarter, 40), PAPER);
        assert_eq!(pixel(quarter, 140), INK);
        assert_eq!(pixel(height + GAP + WAVE / 2, 40), AXIS);
    }
}
