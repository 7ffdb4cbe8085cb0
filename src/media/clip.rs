//! A finished clip to files.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

use super::{embedded, external, raw};

/// Frames per second of every clip.
pub const FPS: usize = 25;
/// Sound samples per second of every clip.
pub const SAMPLE_RATE: usize = 44_100;
/// Sound samples (per channel) during one frame.
pub const SAMPLES_PER_FRAME: usize = SAMPLE_RATE / FPS;
/// The longer and the shorter side that the embedded encoder takes at most, in pixels.
const MAX_SIDES: [usize; 2] = [3840, 2160];

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

/// Who makes the file.
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

impl Encoder {
    /// Whether it can start at all.
    ///
    /// # Errors
    /// [`Error::Request`] if it needs a program that is not there.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::X264 { ffmpeg } => external::check(ffmpeg),
            Self::Embedded | Self::Raw => Ok(()),
        }
    }

    /// The files it writes for a clip at `path`.
    pub fn files(&self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::Embedded | Self::X264 { .. } => vec![path.to_path_buf()],
            Self::Raw => raw::EXTENSIONS.map(|end| path.with_extension(end)).to_vec(),
        }
    }
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
    /// Who encodes.
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

/// What [`write_clip`] did.
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

/// Writes `clip` to `path`. `progress` gets frames done and frames in all, from any thread; `cancel` is asked at
/// least once a frame. Files appear under their names only when they are complete.
///
/// # Errors
/// [`Error::Request`] for a size or quality that cannot be encoded or an ffmpeg that is not there;
/// [`Error::Output`] if the file cannot be written; [`Error::Device`] if an encoder fails;
/// [`Error::Interrupted`] after `cancel`.
///
/// # Panics
/// If the clip has no frames, or its frames or sound are not as long as its sizes say.
pub fn write_clip(
    path: &Path,
    clip: &Clip<'_>,
    options: &EncodeOptions,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    check_size(clip, &options.encoder)?;
    let frame_bytes = 3 * clip.width * clip.height;
    assert!(
        !clip.frames.is_empty() && clip.frames.len().is_multiple_of(frame_bytes),
        "{} bytes of frames of {frame_bytes}",
        clip.frames.len()
    );
    let values = clip.audio.len();
    assert!(values.is_multiple_of(2), "{values} values of stereo sound");
    let frames = clip.frames.len() / frame_bytes;
    if options.quality > 10 {
        return Err(Error::request(
            "--quality",
            format!("must be 0 to 10; given {}", options.quality),
        ));
    }
    let audio = sound_of(clip, frames, options.full_audio);
    let job = Job {
        path,
        width: clip.width,
        height: clip.height,
        pictures: clip.frames,
        frames,
        audio: &audio,
        options,
    };
    match &options.encoder {
        Encoder::Embedded => embedded::write(&job, progress, cancel),
        Encoder::X264 { ffmpeg } => external::write(&job, ffmpeg, progress, cancel),
        Encoder::Raw => raw::write(&job, progress, cancel),
    }
}

/// A clip that was checked, with its sound cut or continued as asked.
pub(super) struct Job<'a> {
    pub(super) path: &'a Path,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pictures: &'a [u8],
    pub(super) frames: usize,
    pub(super) audio: &'a [f32],
    pub(super) options: &'a EncodeOptions,
}

impl Job<'_> {
    pub(super) fn samples(&self) -> usize {
        self.audio.len() / 2
    }

    pub(super) fn frame_bytes(&self) -> usize {
        3 * self.width * self.height
    }

    pub(super) fn report(&self, encoder: String, files: Vec<WrittenFile>) -> EncodeReport {
        EncodeReport {
            encoder,
            files,
            frames: self.frames,
            samples: self.samples(),
        }
    }
}

fn check_size(clip: &Clip<'_>, encoder: &Encoder) -> Result<()> {
    let (width, height) = (clip.width, clip.height);
    let given = format!("given {width}x{height}");
    let is_on_grid = |side: usize| side > 0 && side.is_multiple_of(32);
    if !is_on_grid(width) || !is_on_grid(height) {
        return Err(Error::request(
            "--size",
            format!("must be multiples of 32 to be encoded; {given}"),
        ));
    }
    let [long, short] = MAX_SIDES;
    let is_too_large = width.max(height) > long || width.min(height) > short;
    if *encoder == Encoder::Embedded && is_too_large {
        return Err(Error::request(
            "--size",
            format!(
                "must be at most {long}x{short} for the embedded encoder; {given}, use --encoder x264 or none"
            ),
        ));
    }
    Ok(())
}

fn sound_of(clip: &Clip<'_>, frames: usize, full_audio: bool) -> Vec<f32> {
    let mut audio = clip.audio.to_vec();
    let wanted = 2 * SAMPLES_PER_FRAME * frames;
    let is_kept = audio.is_empty() || (full_audio && audio.len() > wanted);
    if !is_kept {
        audio.resize(wanted, 0.0);
    }
    audio
}

/// Length and hash of the file at `at`, which is or will be `path`.
pub(super) fn describe(at: &Path, path: &Path) -> Result<WrittenFile> {
    let unread = |e: io::Error| Error::output_io(path, e);
    let mut file = File::open(at).map_err(unread)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(unread)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        bytes += n as u64;
    }
    Ok(WrittenFile {
        path: path.into(),
        bytes,
        sha256: hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}
