//! A clip without encoders: `NAME.rgb` (frames, RGB, 8 bits), `NAME.wav` (16-bit PCM) and `NAME.json`, which says
//! how to read them and appears last.

use crate::{Error, Result};

use super::{
    clip::{EncodeReport, FPS, Job, SAMPLE_RATE, describe},
    output::AtomicFile,
    wav::write_wav,
};

pub(super) fn write(
    job: &Job<'_>,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    let name = |extension: &str| job.path.with_extension(extension);
    let mut finished = Vec::new();

    let mut pictures = AtomicFile::create(&name("rgb"))?;
    for (i, frame) in job.pictures.chunks_exact(job.frame_bytes()).enumerate() {
        if cancel() {
            return Err(Error::Interrupted);
        }
        pictures.write(frame)?;
        progress(i + 1, job.frames);
    }
    finished.push((pictures, name("rgb")));

    if !job.audio.is_empty() {
        let path = name("wav");
        let mut sound = AtomicFile::create(&path)?;
        write_wav(&mut sound, &path, job.audio, 2)?;
        finished.push((sound, path));
    }

    let mut description = AtomicFile::create(&name("json"))?;
    description.write(describe_streams(job).as_bytes())?;
    finished.push((description, name("json")));

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
