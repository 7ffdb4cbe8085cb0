//! A finished clip, and options for writing it.

use std::path::PathBuf;

/// Video frames per second of every clip.
pub const FPS: usize = 25;
/// Audio sample rate of every clip, Hz.
pub const SAMPLE_RATE: usize = 44_100;
/// Audio samples per channel during one frame.
pub const SAMPLES_PER_FRAME: usize = SAMPLE_RATE / FPS;

/// A clip to write: frames at 25 per second and stereo audio at 44.1 kHz.
#[derive(Clone, Copy, Debug)]
pub struct Clip<'a> {
    /// Pixels in a row; a multiple of 32.
    pub width: usize,
    /// Rows; a multiple of 32.
    pub height: usize,
    /// u8 `[frames, height, width, 3]`, RGB.
    pub frames: &'a [u8],
    /// f32 `[samples, 2]` at 44.1 kHz, nominal range [-1, 1]; empty for a clip without audio track.
    pub audio: &'a [f32],
}

/// What encodes the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encoder {
    /// OpenH264 and our AAC, inside this program; the same clip always gives the same bytes.
    Embedded,
    /// libx264 and AAC of the `ffmpeg` program at this path (or name on PATH).
    X264 {
        /// The program.
        ffmpeg: PathBuf,
    },
    /// No encoder: raw RGB, a WAV, and a JSON that describes them.
    Raw,
}

/// Matrix from RGB to YCbCr, and how the file is tagged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// BT.709, limited range, tagged as such.
    Bt709,
    /// BT.601, limited range, without a tag, as the reference writes.
    Reference,
}

/// Options for writing a clip.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodeOptions {
    /// What encodes the file.
    pub encoder: Encoder,
    /// 0 (draft) to 10 (archive).
    pub quality: u8,
    /// Keeps audio that is longer than the video. Otherwise audio is cut or padded with silence to the video's length.
    pub full_audio: bool,
    /// Leaves the audio out.
    pub is_silent: bool,
    /// Colour matrix and tag.
    pub color: Color,
    /// What the file says of itself.
    pub tags: Tags,
}

/// Text about a clip, in its file; what is empty is left out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tags {
    /// The program that made it.
    pub tool: String,
    /// What it shows.
    pub description: String,
    /// What else there is to say, for programs.
    pub comment: String,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            encoder: Encoder::Embedded,
            quality: 6,
            full_audio: false,
            is_silent: false,
            color: Color::Bt709,
            tags: Tags::default(),
        }
    }
}

/// A written file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenFile {
    /// Its path.
    pub path: PathBuf,
    /// Its length, bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Result of [`write_clip`](super::write_clip).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodeReport {
    /// The encoder that ran, with its settings.
    pub encoder: String,
    /// The files: the MP4, or for [`Encoder::Raw`] the frames, the sound and their description.
    pub files: Vec<WrittenFile>,
    /// Frames in the file.
    pub frames: usize,
    /// Audio samples per channel in the file.
    pub samples: usize,
}
