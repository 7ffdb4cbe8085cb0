//! The MP4 by the encoders inside this program.
//!
//! The clip is cut into GOPs of a fixed length; each is encoded alone and they are joined in order, so the bytes do
//! not depend on the number of threads.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::{
    Error, Result,
    media::{
        clip::{EncodeReport, FPS},
        output::AtomicFile,
    },
};

use super::{
    aac::{AacStream, encode_aac},
    h264::{Gop, H264Settings, encode_gop},
    job::{Job, describe},
    mp4::{AudioTrack, VideoTrack, write_mp4},
};

/// Frames of a GOP: players can seek to every second, and a clip of five seconds feeds five threads.
const GOP_FRAMES: usize = FPS;

pub(super) fn write(
    file: &mut AtomicFile,
    job: &Job<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    let encoder = encode(job, progress, cancel, &mut |bytes| file.write(bytes))?;
    if cancel() {
        return Err(Error::Interrupted);
    }
    Ok(job.report(encoder, vec![describe(file)?]))
}

/// Hands the MP4 to `write`, piece by piece, when everything is encoded; gives the encoder's name and settings.
pub(super) fn encode(
    job: &Job<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<String> {
    let settings = H264Settings {
        width: job.width,
        height: job.height,
        qp: quantiser(job.options.quality),
        color: job.options.color,
        gop_frames: GOP_FRAMES,
    };
    let (gops, sound) = rayon::join(
        || encode_video(job, &settings, progress, cancel),
        || {
            (!job.audio.is_empty())
                .then(|| encode_aac(job.audio))
                .transpose()
        },
    );
    let (gops, sound) = (gops?, sound?);
    write_mp4(
        &video_track(job, &gops)?,
        sound.as_ref().map(audio_track).as_ref(),
        &job.options.tags,
        write,
    )?;
    Ok(format!(
        "openh264 (High, QP {}) + aac (192 kbit/s)",
        settings.qp
    ))
}

/// QP 26 for quality 0, 18 for 6 (the default), 12 for 10.
fn quantiser(quality: u8) -> u8 {
    (260 - 14 * u16::from(quality)).div_ceil(10) as u8
}

fn encode_video(
    job: &Job<'_>,
    settings: &H264Settings,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Gop>> {
    let reporter = Mutex::new((progress, 0));
    let after_frame = || {
        if cancel() {
            return Err(Error::Interrupted);
        }
        // A panic in `progress` is propagating already; the counter is still right.
        let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
        reporter.1 += 1;
        let done = reporter.1;
        (reporter.0)(done, job.frames);
        Ok(())
    };
    job.pictures
        .par_chunks(GOP_FRAMES * job.frame_bytes())
        .map(|frames| encode_gop(frames, settings, &after_frame))
        .collect()
}

fn video_track<'a>(job: &Job<'_>, gops: &'a [Gop]) -> Result<VideoTrack<'a>> {
    let first = &gops[0];
    if let Some(other) = gops
        .iter()
        .position(|g| (&g.sps, &g.pps) != (&first.sps, &first.pps))
    {
        return Err(Error::device(format!(
            "OpenH264 wrote other parameter sets for second {other} than for the first"
        )));
    }
    Ok(VideoTrack {
        width: job.width,
        height: job.height,
        sps: &first.sps,
        pps: &first.pps,
        frames: gops
            .iter()
            .flat_map(|gop| gop.frames.iter().map(Vec::as_slice))
            .collect(),
        gop_frames: GOP_FRAMES,
        color: job.options.color,
    })
}

fn audio_track(sound: &AacStream) -> AudioTrack<'_> {
    AudioTrack {
        config: &sound.config,
        frames: sound.frames.iter().map(Vec::as_slice).collect(),
        samples: sound.samples,
    }
}
