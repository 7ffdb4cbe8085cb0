//! The MP4 by an `ffmpeg` program with libx264, with the reference's settings.
//!
//! Audio and tags go into temporary files, frames through a pipe. The number of threads is fixed, because libx264's bytes
//! depend on it. A cancel kills the child process.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::{
    Error, Result,
    error::{Field, Hint},
    media::{
        clip::{Color, EncodeReport, FPS},
        output::AtomicFile,
        part::Unnamed,
        wav::write_wav,
    },
};

use super::{
    job::{Job, describe},
    yuv::rgb_to_yuv420,
};

/// Threads of libx264, the same on every machine.
const THREADS: &str = "8";
/// Interval at which progress is reported and a cancel is noticed.
const POLL: Duration = Duration::from_millis(20);
/// Most bytes of ffmpeg's messages that are shown.
const COMPLAINT_BYTES: usize = 400;

/// Starts the program once, so that a clip is not computed in vain.
pub(super) fn check(ffmpeg: &Path) -> Result<()> {
    Command::new(ffmpeg)
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .map_err(|e| not_started(ffmpeg, &e))
}

pub(super) fn write(
    file: &AtomicFile,
    job: &Job<'_>,
    ffmpeg: &Path,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<EncodeReport> {
    // Never published: they are removed when this function ends.
    let refused = |e| Error::output_io(job.path, e);
    let beside = || Unnamed::file(file.part_path()).map_err(refused);
    let sound = match job.audio {
        [] => None,
        audio => {
            let sound = beside()?;
            let mut write = |bytes: &[u8]| sound.handle().write_all(bytes).map_err(refused);
            write_wav(audio, 2, &mut write)?;
            Some(sound)
        }
    };
    let tags = beside()?;
    let text = job.options.tags.for_ffmpeg();
    tags.handle().write_all(text.as_bytes()).map_err(refused)?;
    let crf = rate_factor(job.options.quality);
    let heard = sound.as_ref().map(Unnamed::path);
    let arguments = arguments(job, crf, (heard, tags.path()), file.part_path());
    let child = Command::new(ffmpeg)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| not_started(ffmpeg, &e))?;
    feed(job, Running(child), progress, cancel)?;
    let name = ffmpeg.display();
    let encoder = format!("{name} libx264 (medium, CRF {crf}) + aac (128 kbit/s)");
    Ok(job.report(encoder, vec![describe(file)?]))
}

/// CRF by the reference's rule `trunc((1 - quality / 10) * 51)`, but at least 1: 0 would be lossless, in a profile
/// that browsers do not play.
fn rate_factor(quality: u8) -> u8 {
    ((10 - u16::from(quality)) * 51 / 10).max(1) as u8
}

fn arguments(
    job: &Job<'_>,
    crf: u8,
    (sound, tags): (Option<&Path>, &Path),
    target: &Path,
) -> Vec<OsString> {
    let pixel_format = match job.options.color {
        Color::Bt709 => "yuv420p",
        // ffmpeg's scaler converts, as it does for the reference.
        Color::Reference => "rgb24",
    };
    let size = format!("{}x{}", job.width, job.height);
    let fps = FPS.to_string();
    let crf = crf.to_string();
    let mut list: Vec<OsString> = Vec::new();
    let mut add = |text: &str| list.extend(text.split(' ').map(OsString::from));
    add("-hide_banner -nostdin -nostats -loglevel error -y");
    add(&format!(
        "-f rawvideo -pix_fmt {pixel_format} -s {size} -r {fps} -i pipe:0"
    ));
    if let Some(sound) = sound {
        add("-f wav -i");
        list.push(sound.into());
    }
    list.extend(["-f", "ffmetadata", "-i"].map(OsString::from));
    list.push(tags.into());
    let mut add = |text: &str| list.extend(text.split(' ').map(OsString::from));
    add(&format!(
        "-c:v libx264 -preset medium -crf {crf} -pix_fmt yuv420p -threads {THREADS}"
    ));
    if job.options.color == Color::Bt709 {
        add("-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv");
    }
    if sound.is_some() {
        // Without noise substitution, whose noise after a seek is another than when played from the start.
        add("-c:a aac -b:a 128k -aac_pns 0");
    }
    add(if sound.is_some() {
        "-map_metadata 2"
    } else {
        "-map_metadata 1"
    });
    add("-fflags +bitexact -flags:v +bitexact -flags:a +bitexact");
    add("-movflags +faststart -f mp4");
    list.push(target.into());
    list
}

fn not_started(ffmpeg: &Path, error: &io::Error) -> Error {
    let found = format!(
        "`{}`, which could not be started ({error})",
        ffmpeg.display()
    );
    let error =
        Error::request(Field::Encoder, "x264 needs an installed ffmpeg program").found(found);
    error.with_hint(Hint::Set(Field::Encoder, "openh264"))
}

/// A child process that is killed when the work ends for any reason.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the child has ended already, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes the frames to the child and waits for it.
fn feed(
    job: &Job<'_>,
    mut child: Running,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let stdin = child.0.stdin.take();
    let stderr = child.0.stderr.take();
    let done = AtomicUsize::new(0);
    let is_written = AtomicBool::new(false);
    let (status, complaint) = thread::scope(|scope| {
        scope.spawn(|| {
            // A failed write means that the child has ended; its exit status tells why.
            let complete = stdin.is_some_and(|mut pipe| send_frames(job, &mut pipe, &done).is_ok());
            is_written.store(complete, Ordering::Release);
        });
        let reader = scope.spawn(|| {
            let mut text = Vec::new();
            if let Some(mut pipe) = stderr {
                // What was read before an error is still worth showing.
                let _ = pipe.read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).trim().to_string()
        });
        let mut told = 0;
        let status = loop {
            if cancel() {
                break Err(Error::Interrupted);
            }
            let now = done.load(Ordering::Relaxed);
            if now != told {
                progress(now, job.frames);
                told = now;
            }
            match child.0.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) => thread::sleep(POLL),
                Err(e) => break Err(Error::output_io(job.path, e)),
            }
        };
        // Closes the pipes, which ends both threads.
        drop(child);
        (status, reader.join().unwrap_or_default())
    });
    let status = status?;
    if status.success() && is_written.load(Ordering::Acquire) {
        return Ok(());
    }
    let tail: String = complaint.chars().take(COMPLAINT_BYTES).collect();
    Err(Error::output(
        job.path,
        format!("ffmpeg ended with {status}: {}", tail.replace('\n', "; ")),
    ))
}

fn send_frames(job: &Job<'_>, pipe: &mut impl Write, done: &AtomicUsize) -> io::Result<()> {
    for frame in job.pictures.chunks_exact(job.frame_bytes()) {
        match job.options.color {
            Color::Reference => pipe.write_all(frame)?,
            Color::Bt709 => {
                let planes = rgb_to_yuv420(frame, job.width, job.height, Color::Bt709);
                for plane in [&planes.y, &planes.u, &planes.v] {
                    pipe.write_all(plane)?;
                }
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
