//! A clip without encoders: `NAME.rgb` (frames, RGB, 8 bits), `NAME.wav` (16-bit PCM) and `NAME.json`, which describes
//! them and is written last.

use crate::{
    Error, Result,
    media::{
        clip::{EncodeReport, FPS, SAMPLE_RATE},
        output::AtomicFile,
        wav::write_wav,
    },
};

use super::job::{Job, describe};

/// Extensions of the files: frames, sound, description.
pub(super) const EXTENSIONS: [&str; 3] = ["rgb", "wav", "json"];

/// `files` are of these kinds, in this order; a clip without sound keeps no file for it.
pub(super) fn write(
    files: &mut Vec<AtomicFile>,
    job: &Job<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    let [pictures, sound, description] = files.as_mut_slice() else {
        panic!("{} files for raw output", files.len())
    };
    for (i, frame) in job.pictures.chunks_exact(job.frame_bytes()).enumerate() {
        if cancel() {
            return Err(Error::Interrupted);
        }
        pictures.write(frame)?;
        progress(i + 1, job.frames);
    }
    write_wav(job.audio, 2, &mut |bytes| sound.write(bytes))?;
    description.write(describe_streams(job).as_bytes())?;
    if job.audio.is_empty() {
        files.remove(1);
    }
    if cancel() {
        return Err(Error::Interrupted);
    }
    let written = files.iter().map(describe).collect::<Result<_>>()?;
    Ok(job.report("none (raw RGB + PCM)".into(), written))
}

fn describe_streams(job: &Job<'_>) -> String {
    let tags = job.options.tags.list();
    let tags: serde_json::Map<_, _> = tags
        .map(|(key, _, text)| (key.into(), text.into()))
        .collect();
    let mut description = serde_json::json!({
        "video": {
            "pixel_format": "rgb24",
            "width": job.width,
            "height": job.height,
            "frames": job.frames,
            "fps": FPS,
        },
        "audio": {
            "sample_format": "s16le",
            "sample_rate": SAMPLE_RATE,
            "channels": 2,
            "samples": job.samples(),
        },
    });
    if !tags.is_empty() {
        description["metadata"] = tags.into();
    }
    format!("{description:#}\n")
}
