//! The external encoder, and external readers, as far as there are any on PATH.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use gallop::{
    Error,
    media::{Clip, Color, EncodeOptions, Encoder, Tags},
};

use crate::{
    clips::{pictures, small, sound, write, write_with},
    scratch::Scratch,
};

/// What a description may be.
const TEXT: &str = "a; b=c #d \\ \"e\"\n\n;FFMETADATA1\n[CHAPTER]\n青い星 🐎";

#[test]
fn a_missing_ffmpeg_is_said() {
    let folder = Scratch::new("noffmpeg");
    let rgb = pictures(1, 32, 32);
    let audio = sound(1764);
    let clip = small(&rgb, &audio);
    let options = EncodeOptions {
        encoder: Encoder::X264 {
            ffmpeg: folder.path("no-such-ffmpeg"),
        },
        ..EncodeOptions::default()
    };
    let error = write(&folder.path("clip.mp4"), &clip, &options).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("no-such-ffmpeg"), "{error}");
    assert!(folder.names().is_empty());
}

fn is_on_path(program: &str) -> bool {
    Command::new(program)
        .arg("-version")
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn ffprobe_agrees_where_there_is_one() {
    if !is_on_path("ffprobe") {
        println!("not run: no ffprobe on PATH");
        return;
    }
    let folder = Scratch::new("ffprobe");
    let frames = 61;
    let rgb = pictures(frames, 64, 32);
    let audio = sound((frames + 1) * 1764);
    let clip = Clip {
        width: 64,
        height: 32,
        frames: &rgb,
        audio: &audio,
    };
    let mut encoders = vec![Encoder::Embedded];
    if is_on_path("ffmpeg") {
        encoders.push(Encoder::X264 {
            ffmpeg: "ffmpeg".into(),
        });
    } else {
        println!("x264 not run: no ffmpeg on PATH");
    }
    for encoder in encoders {
        for color in [Color::Bt709, Color::Reference] {
            let options = EncodeOptions {
                encoder: encoder.clone(),
                color,
                tags: Tags {
                    tool: "gallop 1".into(),
                    description: TEXT.into(),
                    comment: "{\"seed\":7}".into(),
                },
                ..EncodeOptions::default()
            };
            let path = folder.path("clip.mp4");
            let first = write(&path, &clip, &options).unwrap();
            let again = write(&path, &clip, &options).unwrap();
            assert_eq!(first, again, "{encoder:?} twice");
            check_with_ffprobe(&path, frames, color);
        }
    }
    assert_eq!(folder.names(), ["clip.mp4"]);
}

fn check_with_ffprobe(path: &Path, frames: usize, color: Color) {
    let output = Command::new("ffprobe")
        .args(["-v", "warning", "-count_frames", "-of", "json"])
        .args(["-show_streams", "-show_format"])
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "",
        "{}",
        path.display()
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (video, audio) = (&json["streams"][0], &json["streams"][1]);
    assert_eq!(video["codec_name"], "h264");
    assert_eq!(video["pix_fmt"], "yuv420p");
    assert_eq!(video["r_frame_rate"], "25/1");
    assert_eq!(video["nb_read_frames"], frames.to_string());
    assert_eq!(video["start_time"], "0.000000");
    assert_eq!(video["duration"], "2.440000");
    let matrix = video["color_space"].as_str().unwrap_or("none");
    assert_eq!(matrix == "bt709", color == Color::Bt709, "{matrix}");
    assert_eq!(audio["codec_name"], "aac");
    assert_eq!(audio["profile"], "LC");
    assert_eq!(audio["sample_rate"], "44100");
    assert_eq!(audio["channels"], 2);
    assert_eq!(audio["start_time"], "0.000000");
    assert_eq!(audio["duration"], "2.440000");
    let tags = &json["format"]["tags"];
    assert_eq!(tags["encoder"], "gallop 1");
    assert_eq!(tags["description"], TEXT);
    assert_eq!(tags["comment"], "{\"seed\":7}");
}

/// A program that behaves as `script` says, in place of ffmpeg.
#[cfg(unix)]
fn stand_in(folder: &Scratch, script: &str) -> Encoder {
    use std::os::unix::fs::PermissionsExt;

    let program = folder.path("stand-in");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Encoder::X264 { ffmpeg: program }
}

#[cfg(unix)]
#[test]
fn an_ffmpeg_that_fails_is_quoted() {
    let folder = Scratch::new("ffmpeg-fails");
    let rgb = pictures(40, 64, 64);
    let clip = Clip {
        width: 64,
        height: 64,
        frames: &rgb,
        audio: &[],
    };
    let options = EncodeOptions {
        encoder: stand_in(&folder, "echo 'Unknown encoder libx264' >&2; exit 3"),
        ..EncodeOptions::default()
    };
    let error = write(&folder.path("clip.mp4"), &clip, &options).unwrap_err();
    assert_eq!(error.exit_code(), 6);
    assert!(
        error.to_string().contains("Unknown encoder libx264"),
        "{error}"
    );
    assert_eq!(folder.names(), ["stand-in"]);
}

#[cfg(unix)]
#[test]
fn an_ffmpeg_that_hangs_is_killed_on_cancel() {
    let folder = Scratch::new("ffmpeg-hangs");
    // More than a pipe holds, so that the writer is stuck too.
    let rgb = pictures(40, 64, 64);
    let clip = Clip {
        width: 64,
        height: 64,
        frames: &rgb,
        audio: &sound(1764),
    };
    let options = EncodeOptions {
        encoder: stand_in(&folder, "exec sleep 60"),
        ..EncodeOptions::default()
    };
    let start = Instant::now();
    let asked = AtomicUsize::new(0);
    let cancel = || asked.fetch_add(1, Ordering::Relaxed) > 5;
    let path = folder.path("clip.mp4");
    let result = write_with(&path, &clip, &options, &mut |_, _| {}, &cancel);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!(folder.names(), ["stand-in"]);
}
