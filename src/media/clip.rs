//! A finished clip, and how it is to be written.

use std::path::PathBuf;

/// Frames per second of every clip.
pub const FPS: usize = 25;
/// Sound samples per second of every clip.
pub const SAMPLE_RATE: usize = 44_100;
/// Sound samples (per channel) during one frame.
pub const SAMPLES_PER_FRAME: usize = SAMPLE_RATE / FPS;

/// What is to be written: frames at 25 per second and stereo sound at 44.1 kHz.
#[derive(Clone, Copy, Debug)]
pub struct Clip<'a> {
    /// Pixels in a row; a multiple of 32.
    pub width: usize,
    /// Rows; a multiple of 32.
    pub height: usize,
    /// `[frames, height, width, 3]`, RGB.
    pub frames: &'a [u8],
    /// `[samples, 2]`, nominal range [-1, 1]; empty for a silent film without sound track.
    pub audio: &'a [f32],
}

/// What makes the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encoder {
    /// OpenH264 and our AAC, inside this program; the same clip always gives the same bytes.
    Embedded,
    /// libx264 and AAC of the `ffmpeg` program at this path (or name on PATH).
    X264 {
        /// The program.
        ffmpeg: PathBuf,
    },
    /// No encoder: raw RGB, a WAV and a JSON that says what they are.
    Raw,
}

/// The matrix from RGB to YCbCr, and its tag in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// BT.709, limited range, tagged as such.
    Bt709,
    /// BT.601, limited range, without a tag, as the reference writes.
    Reference,
}

/// How a clip is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodeOptions {
    /// What makes the file.
    pub encoder: Encoder,
    /// 0 (draft) to 10 (archive).
    pub quality: u8,
    /// Keeps sound that is longer than the picture. Otherwise the sound is cut, or continued with silence, to end
    /// with the picture.
    pub full_audio: bool,
    /// Colour matrix.
    pub color: Color,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            encoder: Encoder::Embedded,
            quality: 6,
            full_audio: false,
            color: Color::Bt709,
        }
    }
}

/// A file that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenFile {
    /// Where.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// What [`write_clip`](super::write_clip) did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodeReport {
    /// The encoder that ran, with its settings.
    pub encoder: String,
    /// The files: the MP4, or for [`Encoder::Raw`] the frames, the sound and their description.
    pub files: Vec<WrittenFile>,
    /// Frames in the file.
    pub frames: usize,
    /// Sound samples per channel in the file.
    pub samples: usize,
}
