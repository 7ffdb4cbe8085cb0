//! Layout of the tokens of one forward pass: rows by modality, coordinates, rotation angles, mask blocks. Reference:
//! `pipeline/data_proxy.py`.

use std::ops::Range;

use super::Coordinates;
use crate::plan::{Grid, MaskBlock};

/// Angles of a token: 16 bands on each of the axes time, row and column.
const ANGLES: usize = 48;

/// The tokens of one forward pass, in the order video, audio, text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// Latent frames, rows and columns.
    pub grid: Grid,
    /// Audio tokens.
    pub audio: usize,
    /// Text tokens, without padding.
    pub text: usize,
}

impl Sequence {
    /// All tokens.
    pub fn len(&self) -> usize {
        self.grid.tokens() + self.audio + self.text
    }

    /// Whether there are no tokens at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the video tokens.
    pub fn video_rows(&self) -> Range<usize> {
        0..self.grid.tokens()
    }

    /// Rows of the audio tokens.
    pub fn audio_rows(&self) -> Range<usize> {
        self.grid.tokens()..self.grid.tokens() + self.audio
    }

    /// Rows of the text tokens.
    pub fn text_rows(&self) -> Range<usize> {
        self.len() - self.text..self.len()
    }

    /// Group offsets: where the rows of video, audio and text end.
    pub fn ends(&self) -> [usize; 3] {
        [self.video_rows().end, self.audio_rows().end, self.len()]
    }

    /// Nine numbers a token: position, size of its grid, size of the reference grid, each as (time, row, column).
    /// Reference: `get_coords`.
    pub fn coordinates(&self, style: Coordinates) -> Vec<[f32; 9]> {
        let Grid {
            frames,
            height,
            width,
        } = self.grid;
        let size = [frames, height / 2, width / 2].map(|n| n as f32);
        let [t, h, w] = size;
        let mut rows = Vec::with_capacity(self.len());
        for frame in 0..frames {
            for y in 0..height / 2 {
                for x in 0..width / 2 {
                    rows.push([frame as f32, y as f32, x as f32, t, h, w, t, h, w]);
                }
            }
        }
        let line = |at: f32, count: usize, reference: usize| {
            let (count, reference) = (count as f32, reference as f32);
            [at, 0.0, 0.0, count, 1.0, 1.0, reference, 1.0, 1.0]
        };
        let reference = match style {
            Coordinates::V1 => frames,
            Coordinates::V2 => self.audio.saturating_sub(1) / 4 + 1,
        };
        rows.extend((0..self.audio).map(|i| line(i as f32, self.audio, reference)));
        rows.extend((0..self.text).map(|i| match style {
            Coordinates::V1 => line(i as f32, self.text, 2),
            Coordinates::V2 => line(i as f32 - self.text as f32, self.text, 1),
        }));
        rows
    }

    /// The rotation's table `[len, 96]`: sines of the 48 angles, then cosines. `bands` are the frequencies in radians
    /// per position. Reference: `model/dit/dit_module.py`, `ElementWiseFourierEmbed`.
    ///
    /// # Errors
    /// A sentence if the position scale of a modality divides by zero: a grid of one token with a larger reference
    /// grid.
    pub fn rope_table(&self, style: Coordinates, bands: &[f32; 16]) -> Result<Vec<f32>, String> {
        let mut table = Vec::with_capacity(self.len() * 2 * ANGLES);
        for coordinates in self.coordinates(style) {
            let angles = angles(&coordinates, bands)?;
            table.extend(angles.iter().map(|&a| f64::from(a).sin() as f32));
            table.extend(angles.iter().map(|&a| f64::from(a).cos() as f32));
        }
        Ok(table)
    }

    /// Mask blocks of full attention: every token sees every token.
    pub fn full(&self) -> Vec<MaskBlock> {
        vec![MaskBlock::new(0..self.len(), [0..self.len()])]
    }

    /// Mask blocks of local attention: a video token sees the latent frames at most `window_radius` away, and all
    /// audio and text; audio and text tokens see everything. Reference: `calc_local_qk_range`.
    pub fn local(&self, window_radius: usize) -> Vec<MaskBlock> {
        let (frames, per_frame) = (self.grid.frames, self.grid.tokens_per_frame());
        let rest = self.grid.tokens()..self.len();
        let of_frame = |t: usize| {
            let near = t.saturating_sub(window_radius)..(t + window_radius + 1).min(frames);
            let near = near.start * per_frame..near.end * per_frame;
            MaskBlock::new(t * per_frame..(t + 1) * per_frame, [near, rest.clone()])
        };
        let mut windows: Vec<MaskBlock> = (0..frames).map(of_frame).collect();
        if !rest.is_empty() {
            windows.push(MaskBlock::new(rest.clone(), [0..self.len()]));
        }
        windows
    }
}

/// `(position - centre) * scale * band` per axis and band, in that order in f32.
fn angles(coordinates: &[f32; 9], bands: &[f32; 16]) -> Result<[f32; ANGLES], String> {
    let mut angles = [0.0; ANGLES];
    for axis in 0..3 {
        let [position, size, reference] = [0, 3, 6].map(|part| coordinates[part + axis]);
        let scale = if size == 1.0 && reference == 1.0 {
            1.0
        } else if size == 1.0 {
            return Err(format!(
                "one token cannot be stretched over {reference}; give at least two text tokens"
            ));
        } else {
            (reference - 1.0) / (size - 1.0)
        };
        let centre = if axis == 0 { 0.0 } else { (size - 1.0) / 2.0 };
        for (angle, band) in angles[16 * axis..16 * (axis + 1)].iter_mut().zip(bands) {
            *angle = ((position - centre) * scale) * band;
        }
    }
    Ok(angles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ROPE_BANDS;

    #[test]
    fn a_window_that_reaches_all_frames_is_full() {
        let grid = Grid::new(3, 4, 4);
        let sequence = Sequence {
            grid,
            audio: 2,
            text: 3,
        };
        let count = sequence.len();
        let full = |queries| MaskBlock::new(queries, [0..count]);
        assert_eq!(
            sequence.local(2),
            [full(0..4), full(4..8), full(8..12), full(12..17)]
        );
        let narrow = [
            MaskBlock::new(0..4, [0..8, 12..17]),
            full(4..8),
            MaskBlock::new(8..12, [4..17]),
            full(12..17),
        ];
        assert_eq!(sequence.local(1), narrow);
    }

    #[test]
    fn one_text_token_cannot_be_stretched() {
        let sequence = Sequence {
            grid: Grid::new(1, 2, 2),
            audio: 1,
            text: 1,
        };
        assert!(
            sequence
                .rope_table(Coordinates::V1, &ROPE_BANDS.map(f32::from_bits))
                .is_err()
        );
        assert!(
            sequence
                .rope_table(Coordinates::V2, &ROPE_BANDS.map(f32::from_bits))
                .is_ok()
        );
    }
}
