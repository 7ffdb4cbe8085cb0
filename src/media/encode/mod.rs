//! Writes a finished clip: by the encoders in this program, by ffmpeg, or raw.
//!
//! [`write_clip`] checks the clip and passes a `job` to `embedded`, `external` or `raw`. Below these are the encoders
//! (`h264`, `aac`, `yuv`) and the container (`mp4`, `sample_entry`, `tags`, `boxes`).

mod aac;
mod boxes;
mod embedded;
mod external;
mod h264;
mod job;
mod mp4;
mod raw;
mod sample_entry;
mod tags;
mod yuv;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    error::{Field, Hint},
};

use super::{
    clip::{Clip, EncodeOptions, EncodeReport, Encoder, SAMPLES_PER_FRAME},
    output::AtomicFile,
};
use job::Job;

pub use aac::{AAC_DELAY, AAC_FRAME, AacStream, encode_aac};
pub use h264::{Gop, H264Settings, encode_gop};
pub use mp4::{AudioTrack, VideoTrack, write_mp4};
pub use yuv::{Yuv420, rgb_to_yuv420};

/// Limits of the longer and the shorter side for the embedded encoder, pixels.
const MAX_SIDES: [usize; 2] = [3840, 2160];

impl Encoder {
    /// Checks that the encoder can start.
    ///
    /// # Errors
    /// [`Error::Request`] if it needs a program that is missing.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::X264 { ffmpeg } => external::check(ffmpeg),
            Self::Embedded | Self::Raw => Ok(()),
        }
    }

    /// Whether its clip can go somewhere else than to a file.
    ///
    /// # Errors
    /// [`Error::Request`] if not.
    pub fn check_for_sink(&self) -> Result<()> {
        match self {
            Self::Embedded => Ok(()),
            Self::X264 { .. } | Self::Raw => Err(Error::request(
                Field::Encoder,
                "must be the one inside this program for a clip that goes to no file",
            )),
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

/// Writes `clip` to `files`, one for each path of [`Encoder::files`], those without content left out. `progress` gets
/// frames done and all frames, from any thread; `cancel` is checked at least once per frame.
///
/// # Errors
/// [`Error::Request`] if a size or quality cannot be encoded or ffmpeg is missing; [`Error::Output`] if the file
/// cannot be written; [`Error::Device`] if an encoder fails; [`Error::Interrupted`] after a cancel.
///
/// # Panics
/// If the clip has no frames, frames or audio do not match its sizes, or `files` are those of another encoder.
pub fn write_clip(
    files: &mut Vec<AtomicFile>,
    clip: &Clip<'_>,
    options: &EncodeOptions,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    let audio = sound_track(clip, options)?;
    let path = files[0].path().to_path_buf();
    let job = Job::new(&path, clip, &audio, options);
    match &options.encoder {
        Encoder::Embedded => embedded::write(&mut files[0], &job, progress, cancel),
        Encoder::X264 { ffmpeg } => external::write(&files[0], &job, ffmpeg, progress, cancel),
        Encoder::Raw => raw::write(files, &job, progress, cancel),
    }
}

/// The same to `sink`, which gets no byte before the whole clip is encoded; the report names no file.
///
/// # Errors
/// As [`write_clip`]; [`Error::Request`] for an encoder that writes files alone.
///
/// # Panics
/// If the clip has no frames, or frames or audio do not match its sizes.
pub fn write_clip_to(
    sink: &mut dyn Write,
    clip: &Clip<'_>,
    options: &EncodeOptions,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    options.encoder.check_for_sink()?;
    let audio = sound_track(clip, options)?;
    let job = Job::new(Path::new("the clip"), clip, &audio, options);
    let mut write = |bytes: &[u8]| {
        let written = sink.write_all(bytes);
        written.map_err(|e| Error::output_io(job.path, e))
    };
    let encoder = embedded::encode(&job, progress, cancel, &mut write)?;
    Ok(job.report(encoder, Vec::new()))
}

/// The sound that a clip has in its file, cut or continued as asked.
///
/// # Errors
/// [`Error::Request`] if a size or quality cannot be encoded.
///
/// # Panics
/// If the clip has no frames, or frames or audio do not match its sizes.
pub fn sound_track(clip: &Clip<'_>, options: &EncodeOptions) -> Result<Vec<f32>> {
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
        return Err(Error::request(Field::Quality, "must be 0 to 10").found(options.quality));
    }
    if options.is_silent {
        return Ok(Vec::new());
    }
    Ok(sound_of(clip, frames, options.full_audio))
}

fn check_size(clip: &Clip<'_>, encoder: &Encoder) -> Result<()> {
    let (width, height) = (clip.width, clip.height);
    let given = format!("{width}x{height}");
    let is_on_grid = |side: usize| side > 0 && side.is_multiple_of(32);
    if !is_on_grid(width) || !is_on_grid(height) {
        let expected = "must be multiples of 32 to be encoded";
        return Err(Error::request(Field::Size, expected).found(given));
    }
    let [long, short] = MAX_SIDES;
    let is_too_large = width.max(height) > long || width.min(height) > short;
    if *encoder == Encoder::Embedded && is_too_large {
        let expected = format!("must be at most {long}x{short} for the embedded encoder");
        let error = Error::request(Field::Size, expected).found(given);
        return Err(error.with_hint(Hint::Set(Field::Encoder, "x264 or none")));
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
