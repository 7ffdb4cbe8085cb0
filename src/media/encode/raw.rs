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

/// Extensions of the files: frames, audio, description.
pub(super) const EXTENSIONS: [&str; 3] = ["rgb", "wav", "json"];

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    let [frames, sound, description] = EXTENSIONS.map(|end| job.path.with_extension(end));
    let mut finished = Vec::new();

    let mut pictures = AtomicFile::create(&frames)?;
    for (i, frame) in job.pictures.chunks_exact(job.frame_bytes()).enumerate() {
        if cancel() {
            return Err(Error::Interrupted);
        }
        pictures.write(frame)?;
        progress(i + 1, job.frames);
    }
    finished.push((pictures, frames));

    if !job.audio.is_empty() {
        let mut file = AtomicFile::create(&sound)?;
        write_wav(&mut file, &sound, job.audio, 2)?;
        finished.push((file, sound));
    }

    let mut file = AtomicFile::create(&description)?;
    file.write(describe_streams(job).as_bytes())?;
    finished.push((file, description));

    if cancel() {
        return Err(Error::Interrupted);
    }
    let mut files = Vec::new();
    for (file, path) in finished {
        files.push(describe(file.part_path(), &path)?);
        file.commit()?;
    }
    Ok(job.report("none (raw RGB + PCM)".into(), files))
}

fn describe_streams(job: &Job<'_>) -> String {
    let description = serde_json::json!({
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
    format!("{description:#}\n")
}
