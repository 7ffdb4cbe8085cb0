//! Clips written, read back by other means, and interrupted.

use std::{
    fs,
    io::Cursor,
    panic,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use gallop::{
    Error,
    error::Field,
    media::{
        AtomicFile, AudioTrack, Clip, Color, EncodeOptions, EncodeReport, Encoder, Tags,
        VideoTrack, encode_aac, open_voice, publish, rgb_to_yuv420, write_clip, write_mp4,
    },
};
use proptest::prelude::*;
use symphonia::core::{
    codecs::audio::AudioDecoderOptions,
    formats::{FormatOptions, FormatReader, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use crate::{boxes, h264_decoder::decode_luma, properties::config, scratch::Scratch};

/// A moving gradient with a moving square and some fixed noise.
pub(crate) fn pictures(frames: usize, width: usize, height: usize) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(frames * width * height * 3);
    let mut noise = 12345_u32;
    for t in 0..frames {
        for y in 0..height {
            for x in 0..width {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let grain = (noise >> 29) as usize;
                let is_square = x.abs_diff(4 * t % width) < 8 && y.abs_diff(height / 2) < 8;
                rgb.push((grain + (x + 2 * t) * 200 / (width + 2 * frames)) as u8);
                rgb.push((grain + y * 200 / height) as u8);
                rgb.push(if is_square { 230 } else { 60 + grain as u8 });
            }
        }
    }
    rgb
}

/// Two chords, one a channel.
pub(crate) fn sound(samples: usize) -> Vec<f32> {
    (0..samples)
        .flat_map(|i| {
            let tone = |hz: f64| (i as f64 / 44_100.0 * hz * std::f64::consts::TAU).sin() as f32;
            [
                0.3 * tone(220.0) + 0.2 * tone(1_234.0),
                0.3 * tone(330.0) + 0.1 * tone(2_500.0),
            ]
        })
        .collect()
}

pub(crate) fn write(
    path: &Path,
    clip: &Clip<'_>,
    options: &EncodeOptions,
) -> gallop::Result<EncodeReport> {
    write_with(path, clip, options, &mut |_, _| {}, &|| false)
}

/// The same, told of progress and when to stop; files that are there are replaced.
pub(crate) fn write_with(
    path: &Path,
    clip: &Clip<'_>,
    options: &EncodeOptions,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    cancel: &(dyn Fn() -> bool + Sync),
) -> gallop::Result<EncodeReport> {
    let paths = options.encoder.files(path).into_iter();
    let files: gallop::Result<_> = paths.map(|path| AtomicFile::create(&path, true)).collect();
    let mut files = files?;
    let report = write_clip(&mut files, clip, options, progress, cancel)?;
    publish(files)?;
    Ok(report)
}

/// The access units of a track as a decoder wants them, parameter sets first.
pub(crate) fn annex_b(track: &boxes::Track) -> Vec<Vec<u8>> {
    let at = track.entry.windows(4).position(|w| w == b"avcC").unwrap() + 4;
    let configuration = &track.entry[at..];
    let sps_bytes = usize::from(u16::from_be_bytes([configuration[6], configuration[7]]));
    let sps = &configuration[8..8 + sps_bytes];
    let pps = &configuration[8 + sps_bytes + 1..];
    let pps_bytes = usize::from(u16::from_be_bytes([pps[0], pps[1]]));
    let pps = &pps[2..2 + pps_bytes];
    let mut units = Vec::new();
    for sample in &track.samples {
        let mut unit = Vec::new();
        let mut put = |nal: &[u8]| {
            unit.extend([0, 0, 0, 1]);
            unit.extend(nal);
        };
        if units.is_empty() {
            put(sps);
            put(pps);
        }
        let mut rest = &sample[..];
        while !rest.is_empty() {
            let length = boxes::be32(rest, 0) as usize;
            put(&rest[4..4 + length]);
            rest = &rest[4 + length..];
        }
        units.push(unit);
    }
    units
}

/// A reader that is not ours.
fn symphonia(file: Vec<u8>) -> Box<dyn FormatReader> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(file)), Default::default());
    symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .unwrap()
}

/// The left channel of an MP4's sound, with everything the decoder gives.
fn decode_left(file: Vec<u8>) -> Vec<f32> {
    let mut format = symphonia(file);
    let track = format.default_track(TrackType::Audio).unwrap().clone();
    let parameters = track.codec_params.as_ref().unwrap().audio().unwrap();
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .unwrap();
    let (mut left, mut both) = (Vec::new(), Vec::<f32>::new());
    while let Some(packet) = format.next_packet().unwrap() {
        if packet.track_id == track.id {
            let decoded = decoder.decode(&packet).unwrap();
            decoded.copy_to_vec_interleaved(&mut both);
            left.extend(both.iter().step_by(2));
        }
    }
    left
}

/// Signal to noise of `found` in decibels.
fn snr(found: &[f32], expected: &[f32]) -> f64 {
    let noise: f64 = found
        .iter()
        .zip(expected)
        .map(|(&a, &b)| f64::from(a - b).powi(2))
        .sum();
    let signal: f64 = expected.iter().map(|&b| f64::from(b).powi(2)).sum();
    10.0 * (signal / noise).log10()
}

fn psnr(found: &[u8], expected: &[u8]) -> f64 {
    let error: f64 = found
        .iter()
        .zip(expected)
        .map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 * expected.len() as f64 / error.max(1e-9)).log10()
}

#[test]
fn the_file_holds_both_tracks_to_the_sample_and_plays_forward() {
    let folder = Scratch::new("structure");
    let (frames, width, height) = (61, 64, 32);
    let rgb = pictures(frames, width, height);
    // 40 ms more than the picture, as a clip of five seconds has.
    let audio = sound((frames + 1) * 1764);
    let clip = Clip {
        width,
        height,
        frames: &rgb,
        audio: &audio,
    };
    for full_audio in [false, true] {
        let path = folder.path("clip.mp4");
        let options = EncodeOptions {
            full_audio,
            ..EncodeOptions::default()
        };
        let report = write(&path, &clip, &options).unwrap();
        let file = fs::read(&path).unwrap();
        let samples = if full_audio { frames + 1 } else { frames } * 1764;
        assert_eq!((report.frames, report.samples), (frames, samples));
        assert_eq!(report.files[0].bytes, file.len() as u64);

        let names: Vec<String> = boxes::list(&file, 0..file.len())
            .into_iter()
            .map(|b| b.name)
            .collect();
        assert_eq!(names, ["ftyp", "moov", "mdat"]);
        let header = boxes::words(&file, &boxes::find(&file, 0..file.len(), "moov/mvhd"));
        assert_eq!(header[..4], [0, 0, 44_100, samples as u32], "no clocks");

        let tracks = boxes::tracks(&file);
        let [video, audio] = tracks.as_slice() else {
            panic!("{} tracks", tracks.len())
        };
        assert_eq!(
            (video.handler.as_str(), audio.handler.as_str()),
            ("vide", "soun")
        );
        assert_eq!(
            (video.entry_name.as_str(), audio.entry_name.as_str()),
            ("avc1", "mp4a")
        );
        assert_eq!(video.samples.len(), frames);
        assert_eq!(video.edit, (frames as u32 * 1764, 0));
        assert_eq!(video.duration * 25, video.timescale * frames as u32);
        assert_eq!(video.keys, [1, 26, 51]);
        for name in ["avcC", "colr", "pasp"] {
            assert!(
                video.entry.windows(4).any(|w| w == name.as_bytes()),
                "{name}"
            );
        }
        assert_eq!(audio.edit, (samples as u32, 1024));
        assert_eq!(audio.timescale, 44_100);
        assert_eq!(audio.duration as usize, 1024 + samples);
        for name in ["sgpd", "sbgp"] {
            assert!(audio.table.iter().any(|n| n == name), "{name}");
        }
        // A second of picture, a second of sound, and so on.
        let mut places: Vec<(u32, char)> = Vec::new();
        places.extend(video.chunks.iter().map(|&at| (at, 'v')));
        places.extend(audio.chunks.iter().map(|&at| (at, 'a')));
        places.sort_unstable();
        let order: String = places.iter().map(|&(_, kind)| kind).collect();
        assert_eq!(order, "vavava");
    }
    assert_eq!(folder.names(), ["clip.mp4"]);
}

#[test]
fn the_decoded_picture_is_close_at_every_quality() {
    let folder = Scratch::new("psnr");
    let (frames, width, height) = (27, 96, 64);
    let rgb = pictures(frames, width, height);
    let clip = Clip {
        width,
        height,
        frames: &rgb,
        audio: &[],
    };
    let mut last_bytes = 0;
    // Noise of three bits is hard to code: the floors lie under what a quantiser of that step leaves.
    for (quality, floor) in [(0, 35.0), (6, 41.0), (10, 46.0)] {
        let path = folder.path("clip.mp4");
        let options = EncodeOptions {
            quality,
            ..EncodeOptions::default()
        };
        let report = write(&path, &clip, &options).unwrap();
        assert!(report.files[0].bytes > last_bytes, "quality {quality}");
        last_bytes = report.files[0].bytes;
        let tracks = boxes::tracks(&fs::read(&path).unwrap());
        assert_eq!(tracks.len(), 1, "a silent film has no sound track");
        let decoded = decode_luma(&annex_b(&tracks[0]), width, height);
        assert_eq!(decoded.len(), frames);
        for (i, (luma, frame)) in decoded
            .iter()
            .zip(rgb.chunks(3 * width * height))
            .enumerate()
        {
            let expected = rgb_to_yuv420(frame, width, height, Color::Bt709).y;
            let found = psnr(luma, &expected);
            assert!(found >= floor, "quality {quality} frame {i}: {found:.1} dB");
        }
    }
}

/// A clip of 32x32 pixels.
pub(crate) fn small<'a>(frames: &'a [u8], audio: &'a [f32]) -> Clip<'a> {
    Clip {
        width: 32,
        height: 32,
        frames,
        audio,
    }
}

#[test]
fn the_decoded_sound_is_close_and_in_time() {
    let folder = Scratch::new("snr");
    let frames = 30;
    let rgb = pictures(frames, 32, 32);
    let audio = sound(frames * 1764);
    let clip = small(&rgb, &audio);
    let path = folder.path("clip.mp4");
    write(&path, &clip, &EncodeOptions::default()).unwrap();
    let left: Vec<f32> = audio.iter().step_by(2).copied().collect();
    let decoded = decode_left(fs::read(&path).unwrap());
    let found = snr(&decoded[1024..], &left);
    assert!(found > 15.0, "{found:.1} dB after 1024 samples");

    // Our own reader obeys the edit list: as long as the picture, and in step with the mean of the channels.
    let voice = open_voice(&path, 60.0).unwrap().samples;
    assert_eq!(voice.len(), frames * 2048);
    let mono: Vec<f32> = audio.chunks(2).map(|p| 0.5 * (p[0] + p[1])).collect();
    let expected = gallop::media::resample_sinc(&mono, 44_100, 51_200);
    let found = snr(&voice, &expected);
    assert!(found > 15.0, "{found:.1} dB through open_voice");
}

#[test]
fn readers_that_know_no_edits_have_the_exact_length() {
    let folder = Scratch::new("exact");
    let rgb = pictures(2, 32, 32);
    // One frame and two of picture; then two and three whole AAC frames, and a sample less and more.
    for (frames, samples) in [
        (1, 1764),
        (2, 3528),
        (1, 2047),
        (1, 2048),
        (1, 2049),
        (1, 3071),
        (1, 3072),
        (1, 3073),
    ] {
        let audio = sound(samples);
        let clip = small(&rgb[..frames * 3 * 32 * 32], &audio);
        let path = folder.path("clip.mp4");
        let options = EncodeOptions {
            full_audio: true,
            ..EncodeOptions::default()
        };
        write(&path, &clip, &options).unwrap();
        let mut format = symphonia(fs::read(&path).unwrap());
        let track = format.default_track(TrackType::Audio).unwrap().clone();
        let base = track.time_base.unwrap();
        assert_eq!((base.numer.get(), base.denom.get()), (1, 44_100));
        // The decoder's delay, which is all that these readers count too much.
        let coded = 1024 + samples as u64;
        assert_eq!(track.num_frames, Some(coded), "{samples}");
        assert_eq!(track.duration.unwrap().get(), coded, "{samples}");
        let mut heard = 0;
        while let Some(packet) = format.next_packet().unwrap() {
            heard += if packet.track_id == track.id {
                packet.dur.get()
            } else {
                0
            };
        }
        assert_eq!(heard, coded, "{samples}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let folder = Scratch::new("threads");
    let frames = 77;
    let rgb = pictures(frames, 96, 64);
    let audio = sound(frames * 1764);
    let clip = Clip {
        width: 96,
        height: 64,
        frames: &rgb,
        audio: &audio,
    };
    let mut files = Vec::new();
    for threads in [1, 2, 3] {
        let path = folder.path(&format!("{threads}.mp4"));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let report = pool
            .install(|| write(&path, &clip, &EncodeOptions::default()))
            .unwrap();
        files.push((report.files[0].sha256.clone(), fs::read(&path).unwrap()));
    }
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn one_frame_and_the_smallest_and_largest_sizes_are_encoded() {
    let folder = Scratch::new("sizes");
    let cases = [
        (32, 32, 1),
        (32, 32, 26),
        (3840, 2144, 1),
        (32, 3840, 2),
        (448, 256, 2),
    ];
    for (width, height, frames) in cases {
        let rgb = pictures(frames, width, height);
        let audio = sound(frames * 1764);
        let clip = Clip {
            width,
            height,
            frames: &rgb,
            audio: &audio,
        };
        let path = folder.path("clip.mp4");
        write(&path, &clip, &EncodeOptions::default()).unwrap();
        let tracks = boxes::tracks(&fs::read(&path).unwrap());
        let decoded = decode_luma(&annex_b(&tracks[0]), width, height);
        assert_eq!(decoded.len(), frames, "{width}x{height}");
    }
}

#[test]
fn sizes_and_qualities_that_cannot_be_encoded_are_refused() {
    let folder = Scratch::new("refused");
    let path = folder.path("clip.mp4");
    let rgb = pictures(1, 32, 32);
    let clip = |width, height, frames| Clip {
        width,
        height,
        frames,
        audio: &[],
    };
    let options = EncodeOptions::default();
    let too_fine = EncodeOptions {
        quality: 11,
        ..EncodeOptions::default()
    };
    let cases = [
        (clip(0, 32, &rgb), &options, Field::Size),
        (clip(48, 32, &rgb), &options, Field::Size),
        (clip(3840, 3840, &rgb), &options, Field::Size),
        (clip(32, 32, &rgb), &too_fine, Field::Quality),
    ];
    for (clip, options, field) in cases {
        match write(&path, &clip, options) {
            Err(Error::Request { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field:?}: {other:?}"),
        }
    }
    assert!(folder.names().is_empty());
}

#[test]
fn an_interrupted_clip_leaves_nothing_and_keeps_what_was_there() {
    let folder = Scratch::new("cancel");
    let path = folder.path("clip.mp4");
    let frames = 60;
    let rgb = pictures(frames, 32, 32);
    let audio = sound(frames * 1764);
    let clip = small(&rgb, &audio);
    fs::write(&path, "the clip of yesterday").unwrap();
    for encoder in [Encoder::Embedded, Encoder::Raw] {
        let options = EncodeOptions {
            encoder,
            ..EncodeOptions::default()
        };
        let asked = AtomicUsize::new(0);
        let cancel = || asked.fetch_add(1, Ordering::Relaxed) >= 7;
        let mut told = Vec::new();
        let result = write_with(
            &path,
            &clip,
            &options,
            &mut |done, all| told.push((done, all)),
            &cancel,
        );
        assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
        assert!(!told.is_empty() && told.len() <= 8, "{told:?}");
        assert_eq!(folder.names(), ["clip.mp4"]);
        assert_eq!(fs::read(&path).unwrap(), b"the clip of yesterday");
    }
}

#[test]
fn a_panic_leaves_nothing() {
    let folder = Scratch::new("panic");
    let path = folder.path("clip.mp4");
    let rgb = pictures(2, 32, 32);
    let clip = small(&rgb, &[]);
    let result = panic::catch_unwind(|| {
        let mut progress = |_, _| panic!("a progress bar that fails");
        write_with(
            &path,
            &clip,
            &EncodeOptions::default(),
            &mut progress,
            &|| false,
        )
    });
    assert!(result.is_err());
    assert!(folder.names().is_empty());
}

#[test]
fn raw_output_says_what_it_is() {
    let folder = Scratch::new("raw");
    let frames = 3;
    let rgb = pictures(frames, 64, 32);
    let audio = sound(frames * 1764);
    let clip = Clip {
        width: 64,
        height: 32,
        frames: &rgb,
        audio: &audio,
    };
    let options = EncodeOptions {
        encoder: Encoder::Raw,
        ..EncodeOptions::default()
    };
    let report = write(&folder.path("clip.mp4"), &clip, &options).unwrap();
    assert_eq!(folder.names(), ["clip.json", "clip.rgb", "clip.wav"]);
    assert_eq!(report.files.len(), 3);
    assert_eq!(fs::read(folder.path("clip.rgb")).unwrap(), rgb);
    let wav = fs::read(folder.path("clip.wav")).unwrap();
    assert_eq!(wav.len(), 44 + 4 * frames * 1764);
    let samples: Vec<u8> = gallop::media::pcm16(&audio)
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    assert_eq!(wav[44..], samples);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path("clip.json")).unwrap()).unwrap();
    assert_eq!(json["video"]["frames"], 3);
    assert_eq!(json["audio"]["samples"], 3 * 1764);
    // The WAV is one that others read.
    assert_eq!(
        open_voice(&folder.path("clip.wav"), 60.0)
            .unwrap()
            .samples
            .len(),
        3 * 2048
    );
}

#[test]
fn sound_that_the_coded_frames_do_not_hold_is_refused() {
    let video = VideoTrack {
        width: 32,
        height: 32,
        sps: &[7; 4],
        pps: &[7; 4],
        frames: vec![&[7]],
        gop_frames: 1,
        color: Color::Bt709,
    };
    // Of three frames, the first only primes the decoder.
    for (samples, fits) in [
        (0, false),
        (1, false),
        (1024, false),
        (1025, true),
        (2048, true),
        (2049, false),
        (usize::MAX - 1023, false),
        (usize::MAX, false),
    ] {
        let audio = AudioTrack {
            config: &[7; 2],
            frames: vec![&[7]; 3],
            samples,
        };
        let written = write_mp4(&video, Some(&audio), &Tags::default(), &mut |_| Ok(()));
        assert_eq!(written.is_ok(), fits, "{samples} samples");
    }
}

/// The texts of a clip's `ilst`, by name; none without one.
pub(crate) fn tags_of(file: &[u8]) -> Vec<(Vec<u8>, String)> {
    let movie = boxes::find(file, 0..file.len(), "moov");
    if boxes::list(file, movie.clone())
        .iter()
        .all(|b| b.name != "udta")
    {
        return Vec::new();
    }
    let meta = boxes::find(file, movie, "udta/meta");
    let mut list = boxes::find(file, meta.start + 4..meta.end, "ilst");
    let mut tags = Vec::new();
    while !list.is_empty() {
        let end = list.start + boxes::be32(file, list.start) as usize;
        let data = boxes::find(file, list.start + 8..end, "data");
        assert_eq!(file[data.start..data.start + 8], [0, 0, 0, 1, 0, 0, 0, 0]);
        let text = file[data.start + 8..data.end].to_vec();
        let name = file[list.start + 4..list.start + 8].to_vec();
        tags.push((name, String::from_utf8(text).unwrap()));
        list.start = end;
    }
    tags
}

#[test]
fn tags_of_any_text_are_in_the_file_and_move_nothing() {
    let folder = Scratch::new("tags");
    let rgb = pictures(2, 32, 32);
    let audio = sound(3528);
    let clip = small(&rgb, &audio);
    let path = folder.path("clip.mp4");
    let written = |tags: &Tags| {
        let tags = tags.clone();
        let options = EncodeOptions {
            tags,
            ..EncodeOptions::default()
        };
        write(&path, &clip, &options).unwrap();
        fs::read(&path).unwrap()
    };
    let plain = written(&Tags::default());
    assert_eq!(tags_of(&plain), []);
    for description in [
        "",
        "a; b=c #d \\ \"e\"\n\n青い星 🐎\u{200d}\u{feff}",
        &"馬 ".repeat(2_500),
    ] {
        let tags = Tags {
            tool: "gallop".into(),
            description: description.into(),
            comment: "{}".into(),
        };
        let file = written(&tags);
        let mut expected = vec![
            (b"\xa9too".to_vec(), tags.tool.clone()),
            (b"\xa9cmt".to_vec(), tags.comment.clone()),
        ];
        if !description.is_empty() {
            expected.push((b"desc".to_vec(), description.into()));
        }
        assert_eq!(tags_of(&file), expected);
        // The offsets of the samples moved with them.
        let samples = |file| boxes::tracks(file).into_iter().map(|track| track.samples);
        assert!(samples(&file).eq(samples(&plain)));
    }
}

proptest! {
    #![proptest_config(config(256))]

    /// Whatever the tracks are: a file that the other reader takes apart again, or an error; never a panic.
    #[test]
    fn the_mp4_writer_gives_a_sound_file_or_an_error(
        sizes in prop::collection::vec(0_usize..400, 0..120),
        sound_sizes in prop::collection::vec(0_usize..300, 0..200),
        filled in 0_usize..1030,
        (width, height) in (0_usize..70_000, 0_usize..70_000),
        gop_frames in 0_usize..40,
        (sps_bytes, config_bytes) in (0_usize..80, 0_usize..80),
        has_sound in any::<bool>(),
    ) {
        let bytes = vec![7_u8; 400];
        let video = VideoTrack {
            width,
            height,
            sps: &bytes[..sps_bytes],
            pps: &bytes[..4],
            frames: sizes.iter().map(|&n| &bytes[..n]).collect(),
            gop_frames,
            color: Color::Bt709,
        };
        let samples = (1024 * sound_sizes.len()).saturating_sub(1024 + filled);
        let audio = AudioTrack {
            config: &bytes[..config_bytes],
            frames: sound_sizes.iter().map(|&n| &bytes[..n]).collect(),
            samples,
        };
        let mut file = Vec::new();
        let written = write_mp4(&video, has_sound.then_some(&audio), &Tags::default(), &mut |piece| {
            file.extend(piece);
            Ok(())
        });
        if written.is_ok() {
            let tracks = boxes::tracks(&file);
            prop_assert_eq!(tracks.len(), 1 + usize::from(has_sound));
            let found: Vec<usize> = tracks[0].samples.iter().map(Vec::len).collect();
            prop_assert_eq!(found, sizes);
            if has_sound {
                let found: Vec<usize> = tracks[1].samples.iter().map(Vec::len).collect();
                prop_assert_eq!(found, sound_sizes);
                prop_assert_eq!(tracks[1].edit.0 as usize, samples);
                prop_assert_eq!(tracks[1].duration as usize, 1024 + samples);
            }
        }
    }

    #[test]
    fn the_sound_encoder_takes_any_value(values in prop::collection::vec(any::<f32>(), 1..600)) {
        let pairs: Vec<f32> = values.iter().flat_map(|&x| [x, -x]).collect();
        let stream = encode_aac(&pairs).unwrap();
        prop_assert_eq!(stream.samples, values.len());
        prop_assert!(stream.frames.len() * 1024 >= values.len() + 1024);
    }
}
