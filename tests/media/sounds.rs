//! Good, bad and hostile voice tracks.

use std::{f64::consts::TAU, fs, path::Path, time::Instant};

use gallop::{
    Error,
    media::{VOICE_RATE, decode_voice, open_voice, resample_sinc},
};
use proptest::prelude::*;

use crate::{properties::config, scratch::Scratch};

/// A WAV file; `format` 1 is integer, 3 is float.
fn wav(rate: u32, channels: u16, format: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(format.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate.wrapping_mul(u32::from(block))).to_le_bytes());
    bytes.extend(block.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// The samples of a whole file.
fn samples_of(bytes: &[u8], name: &str) -> Result<Vec<f32>, Error> {
    Ok(decode_voice(bytes, name, 600.0)?.samples)
}

fn s16(values: impl IntoIterator<Item = i16>) -> Vec<u8> {
    values.into_iter().flat_map(i16::to_le_bytes).collect()
}

fn tone(rate: u32, hz: f64, samples: usize) -> Vec<f32> {
    (0..samples)
        .map(|i| (0.5 * (i as f64 * hz / f64::from(rate) * TAU).sin()) as f32)
        .collect()
}

/// How far `found` is from a tone of `hz` at `rate`, in decibels below it, the ends left out.
fn distortion(found: &[f32], rate: u32, hz: f64, margin: usize) -> f64 {
    let expected = tone(rate, hz, found.len());
    let inner = margin..found.len() - margin;
    let (mut noise, mut signal) = (0.0, 0.0);
    for (&a, &b) in found[inner.clone()].iter().zip(&expected[inner]) {
        noise += f64::from(a - b).powi(2);
        signal += f64::from(b).powi(2);
    }
    10.0 * (signal / noise).log10()
}

#[test]
fn tones_survive_resampling_from_every_rate() {
    for rate in [
        8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 44_099, 48_000, 96_000, 192_000,
    ] {
        let nyquist = f64::from(rate.min(VOICE_RATE)) / 2.0;
        for hz in [100.0, 440.0, 0.8 * nyquist] {
            let found = resample_sinc(&tone(rate, hz, rate as usize / 4), rate, VOICE_RATE);
            assert_eq!(
                found.len(),
                (rate as usize / 4 * 51_200).div_ceil(rate as usize)
            );
            let margin = found.len() / 10;
            let snr = distortion(&found, VOICE_RATE, hz, margin);
            assert!(snr > 90.0, "{rate} Hz, tone of {hz}: {snr:.1} dB");
        }
    }
}

#[test]
fn tones_too_high_for_the_target_rate_vanish() {
    // 30 kHz lies over the 25.6 that 51 200 Hz can hold, and would come back as 21.2.
    let found = resample_sinc(&tone(192_000, 30_000.0, 48_000), 192_000, VOICE_RATE);
    let loudest = found[1000..found.len() - 1000]
        .iter()
        .fold(0.0_f32, |peak, x| peak.max(x.abs()));
    assert!(loudest < 1e-4, "{loudest}");
}

#[test]
fn a_file_at_the_right_rate_is_taken_as_it_is() {
    let values = [0, 1, -1, 12_345, i16::MAX, i16::MIN];
    let found = samples_of(&wav(51_200, 1, 1, 16, &s16(values)), "a.wav").unwrap();
    let expected: Vec<f32> = values.iter().map(|&v| f32::from(v) / 32_768.0).collect();
    assert_eq!(found, expected);
}

#[test]
fn stereo_is_averaged_and_a_duration_cuts() {
    let pairs = (0..60_000).flat_map(|_| [1000_i16, 3000]);
    let bytes = wav(51_200, 2, 1, 16, &s16(pairs));
    let found = decode_voice(&bytes, "a.wav", 0.5).unwrap().samples;
    assert_eq!(found.len(), 25_600);
    assert!(found.iter().all(|&x| x == 2000.0 / 32_768.0));
}

#[test]
fn unusual_but_sound_files_are_read() {
    let silent = samples_of(&wav(44_100, 1, 1, 16, &[0; 88_200]), "silent.wav").unwrap();
    assert_eq!(silent, vec![0.0; 51_200]);
    for rate in [8_000, 192_000] {
        let voice = tone(rate, 300.0, rate as usize);
        let data: Vec<u8> = voice.iter().flat_map(|x| x.to_le_bytes()).collect();
        let found = samples_of(&wav(rate, 1, 3, 32, &data), "a.wav").unwrap();
        assert_eq!(found.len(), 51_200);
        assert!(distortion(&found, VOICE_RATE, 300.0, 2000) > 80.0, "{rate}");
    }
    // One sample, a loud float, and a tag before the file that is longer than a prober looks.
    assert_eq!(
        samples_of(&wav(51_200, 1, 1, 16, &s16([5])), "a.wav")
            .unwrap()
            .len(),
        1
    );
    let loud = wav(51_200, 1, 3, 32, &7.5_f32.to_le_bytes());
    assert_eq!(samples_of(&loud, "a.wav").unwrap(), [32_767.0 / 32_768.0]);
    let mut tagged = b"ID3\x04\0\0\0\x7f\x7f\x7f".to_vec();
    tagged.extend(vec![0; 0x1f_ffff]);
    tagged.extend(wav(51_200, 1, 1, 16, &s16([5])));
    assert_eq!(samples_of(&tagged, "a.wav").unwrap().len(), 1);
}

fn sample(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(root.join("tests/media/samples").join(name)).unwrap()
}

/// A quarter of a second of 300 Hz at an eighth of full scale, each made by another program. One sample too early
/// or late would leave 27 dB.
#[test]
fn files_of_every_kind_start_and_end_in_time() {
    for (name, floor) in [
        ("tone.flac", 60.0),
        ("tone.mp3", 32.0),
        ("tone.m4a", 32.0),
        ("tone.ogg", 32.0),
        ("alac.m4a", 60.0),
        ("tone.caf", 60.0),
        ("tone.aiff", 60.0),
    ] {
        let voice = samples_of(&sample(name), name).unwrap();
        assert_eq!(voice.len(), 12_800, "{name}");
        // MP3 encoders turn the volume down a little, so compare at equal loudness.
        let energy = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
        let gain = (energy(&tone(VOICE_RATE, 300.0, voice.len())) / energy(&voice)).sqrt();
        let scaled: Vec<f32> = voice.iter().map(|x| gain * x).collect();
        let snr = distortion(&scaled, VOICE_RATE, 300.0, 1000);
        assert!(snr > floor, "{name}: {snr:.1} dB");
    }
}

#[test]
fn truncated_files_of_every_kind_are_refused_or_shorter() {
    for name in ["tone.flac", "tone.m4a"] {
        let whole = sample(name);
        let error = samples_of(&whole[..whole.len() * 3 / 5], name).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().starts_with(name), "{error}");
    }
    // An MP3 has no length of its own: what is there is read.
    let whole = sample("tone.mp3");
    let voice = samples_of(&whole[..whole.len() * 3 / 5], "tone.mp3").unwrap();
    assert!((2_000..12_800).contains(&voice.len()), "{}", voice.len());
}

/// An Ogg file whose stream has another number and another sample rate.
fn renamed(ogg: &[u8], number: u32, rate: u32) -> Vec<u8> {
    let (mut all, mut rest) = (Vec::new(), ogg);
    while !rest.is_empty() {
        let head = 27 + usize::from(rest[26]);
        let body: usize = rest[27..head].iter().map(|&bytes| usize::from(bytes)).sum();
        let mut page = rest[..head + body].to_vec();
        rest = &rest[head + body..];
        page[14..18].copy_from_slice(&number.to_le_bytes());
        if page[head..].starts_with(b"\x01vorbis") {
            page[head + 12..head + 16].copy_from_slice(&rate.to_le_bytes());
        }
        page[22..26].fill(0);
        let sum = page.iter().fold(0_u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| {
                let carry = sum >> 31;
                sum << 1 ^ (carry * 0x04c1_1db7)
            })
        });
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        all.extend(page);
    }
    all
}

/// Streams of an Ogg file that stand one behind another, as radio stations and `cat` make them, are heard in turn, as in
/// ffmpeg; also under one number.
#[test]
fn a_chained_ogg_goes_on_with_its_next_stream() {
    let ogg = sample("tone.ogg");
    assert_eq!(
        samples_of(&renamed(&ogg, 9, 48_000), "a.ogg").unwrap(),
        samples_of(&ogg, "a.ogg").unwrap()
    );
    let alone = samples_of(&ogg, "tone.ogg").unwrap();
    for number in [None, Some(0), Some(77)] {
        let other = number.map_or(ogg.clone(), |number| renamed(&ogg, number, 48_000));
        for (count, whole) in [
            (2, [&ogg[..], &other].concat()),
            (3, [&ogg[..], &other, &ogg].concat()),
        ] {
            let voice = decode_voice(&whole, "chained.ogg", 600.0).unwrap();
            assert_eq!(voice.samples.len(), count * alone.len());
            assert!((voice.seconds - 0.25 * count as f64).abs() < 1e-9);
            // The resampler mixes what lies around a joint.
            for part in voice.samples.chunks(alone.len()) {
                assert_eq!(part[200..alone.len() - 200], alone[200..alone.len() - 200]);
            }
            let cut = decode_voice(&whole, "chained.ogg", 0.125).unwrap().samples;
            assert_eq!(cut, alone[..6400]);
            let cut = decode_voice(&whole, "chained.ogg", 0.375).unwrap().samples;
            assert_eq!(cut, voice.samples[..19_200]);
        }
    }
    let slower = renamed(&ogg, 77, 44_100);
    let text = samples_of(&[&ogg[..], &slower].concat(), "a.ogg")
        .unwrap_err()
        .to_string();
    let expected = "a.ogg: goes on at 44100 Hz after 12000 samples at 48000; expected one sample rate, convert it: ffmpeg";
    assert!(text.starts_with(expected), "{text}");
    let cut = [&ogg[..], &slower[..40]].concat();
    assert_eq!(samples_of(&cut, "a.ogg").unwrap().len(), alone.len());
    let many = ogg.repeat(1001);
    assert!(decode_voice(&many, "many.ogg", 0.1).is_ok());
    assert!(samples_of(&many, "many.ogg").is_err());
}

#[test]
fn hostile_sounds_get_one_sentence_with_the_name() {
    let mut truncated = wav(44_100, 1, 1, 16, &s16([1; 1000]));
    truncated.truncate(500);
    let floats = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let nan = floats(&[0.5, f32::NAN]);
    let infinite = floats(&[0.5, 1.0, f32::NEG_INFINITY, f32::NAN]);
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("empty.wav", Vec::new(), "is empty"),
        ("no-samples.wav", wav(44_100, 1, 1, 16, &[]), "no samples"),
        (
            "nan.wav",
            wav(44_100, 1, 3, 32, &nan),
            "not a number at sample 1",
        ),
        (
            "infinite.wav",
            wav(44_100, 1, 3, 32, &infinite),
            "an infinite value at sample 2",
        ),
        ("truncated.wav", truncated, "truncated"),
        ("rate0.wav", wav(0, 1, 1, 16, &s16([1; 10])), "0 Hz"),
        (
            "fast.wav",
            wav(1_000_000, 1, 1, 16, &s16([1; 10])),
            "1000000 Hz",
        ),
        (
            "six.wav",
            wav(44_100, 6, 1, 16, &s16([1; 60])),
            "6 channels",
        ),
        (
            "text.wav",
            b"this is no sound at all".to_vec(),
            "is not a sound file that is known",
        ),
        (
            "header.wav",
            wav(44_100, 1, 1, 16, &[])[..20].to_vec(),
            "is not a sound file that is known",
        ),
    ];
    for (name, bytes, expected) in cases {
        let error = match samples_of(&bytes, name) {
            Err(error) => error,
            Ok(voice) => panic!("{name}: {} samples", voice.len()),
        };
        let text = error.to_string();
        assert_eq!(error.exit_code(), 3, "{text}");
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn of_an_hour_only_what_is_wanted_is_read() {
    let folder = Scratch::new("hour");
    let path = folder.path("hour.wav");
    // A file with a hole: its length is true, and nobody could read it all in time.
    let header = wav(768_000, 1, 1, 16, &[]);
    let bytes = 600 * 768_000 * 2_u32;
    let header = [&header[..40], &bytes.to_le_bytes()].concat();
    fs::write(&path, &header).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(44 + u64::from(bytes)).unwrap();
    let start = Instant::now();
    let voice = open_voice(&path, 4.0).unwrap();
    assert_eq!((voice.samples.len(), voice.seconds), (4 * 51_200, 600.0));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn a_cut_voice_has_the_same_start_and_says_how_long_the_whole_is() {
    for (name, length) in [
        ("tone.flac", 0.25),
        ("tone.mp3", 0.25),
        ("tone.m4a", 0.25),
        ("tone.ogg", 0.25),
        ("tone.aiff", 0.25),
        ("tone.caf", 0.25),
    ] {
        let bytes = sample(name);
        let whole = decode_voice(&bytes, name, 600.0).unwrap();
        assert!(
            (whole.seconds - length).abs() < 1e-3,
            "{name}: {}",
            whole.seconds
        );
        for seconds in [0.04, 0.1] {
            let cut = decode_voice(&bytes, name, seconds).unwrap();
            assert_eq!(cut.samples.len(), (seconds * 51_200.0) as usize, "{name}");
            assert!(whole.samples.starts_with(&cut.samples), "{name}");
            // Packets of an MP3 or CAF that are only counted include the silence that fills the last one.
            let is_counted = ["tone.mp3", "tone.caf"].contains(&name);
            let error = if is_counted { 0.026 } else { 1e-3 };
            assert!(
                (cut.seconds - length).abs() < error,
                "{name}: {}",
                cut.seconds
            );
        }
    }
    // A long MP3, whose length no header says.
    let mp3 = sample("tone.mp3");
    let frames = &mp3[mp3.len() / 3..];
    let first = (0..frames.len())
        .find(|&i| frames[i..].starts_with(&mp3[..2]))
        .unwrap_or(0);
    let long = frames[first..].repeat(40);
    let cut = decode_voice(&long, "long.mp3", 0.2).unwrap();
    let whole = decode_voice(&long, "long.mp3", 600.0).unwrap();
    assert!(
        (cut.seconds - whole.seconds).abs() < 0.2,
        "{} {}",
        cut.seconds,
        whole.seconds
    );
    assert!(cut.seconds > 4.0, "{}", cut.seconds);
}

#[test]
fn low_rates_cost_what_is_used_of_them() {
    let voice = wav(1, 1, 1, 8, &[128, 100].repeat(30_000));
    let start = Instant::now();
    let found = decode_voice(&voice, "slow.wav", 1.0).unwrap();
    assert_eq!((found.samples.len(), found.seconds), (51_200, 60_000.0));
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

/// The lengths that programs write who cannot know better, or count wrongly.
#[test]
fn a_wav_with_a_wrong_length_is_read_to_its_end() {
    let values = || (0..20_000).map(|i| (i * 7 % 2000) as i16);
    let right = wav(51_200, 1, 1, 16, &s16(values()));
    let expected = samples_of(&right, "right.wav").unwrap();
    let bytes = 40_000_u32;
    for claimed in [
        0,
        2,
        0x7fff_ffff,
        0x7fff_ffff - 36,
        0x8000_0000,
        u32::MAX - 36,
        u32::MAX,
        bytes - 44,
        bytes - 8,
        bytes - 1,
        bytes + 1,
        bytes + 8,
        bytes + 44,
        bytes + 300,
    ] {
        for riff in [0, claimed, u32::MAX] {
            let mut wrong = right.clone();
            wrong[4..8].copy_from_slice(&riff.to_le_bytes());
            wrong[40..44].copy_from_slice(&claimed.to_le_bytes());
            let found = decode_voice(&wrong, "wrong.wav", 600.0).unwrap();
            assert!(found.samples == expected, "{claimed} in {riff}");
            assert_eq!(found.seconds, 20_000.0 / 51_200.0, "{claimed} in {riff}");
        }
    }
    // What follows the samples is not heard, odd lengths and half samples are not either.
    for behind in [
        &b"LIST\x04\0\0\0INFO"[..],
        b"TAG some title that has no length",
        b"id3 \x02\0\0\0xy",
        b"\0",
    ] {
        let tagged = [&right[..], behind].concat();
        assert!(
            samples_of(&tagged, "tagged.wav").unwrap() == expected,
            "{behind:?}"
        );
    }
    // One that was cut is refused as before.
    let error = samples_of(&right[..20_000], "cut.wav").unwrap_err();
    assert!(error.to_string().contains("is truncated"), "{error}");
}

/// Some programs leave out the byte behind a chunk of odd length.
#[test]
fn chunks_of_odd_length_in_front_of_the_samples_are_passed() {
    let right = wav(51_200, 1, 1, 16, &s16(0..500));
    for (text, pad) in [
        (&b"LIST\x05\0\0\0INFOx"[..], &b""[..]),
        (b"LIST\x05\0\0\0INFOx", b"\0"),
        (b"LIST\x05\0\0\0INFOx", b"x"),
        (b"note\x01\0\0\0x", b""),
        (b"note\x01\0\0\0x", b"\0"),
        (b"note\x02\0\0\0xy", b""),
    ] {
        for at in [12, 36] {
            let odd = [&right[..at], text, pad, &right[at..]].concat();
            let found = samples_of(&odd, "odd.wav").unwrap();
            assert!(
                found == samples_of(&right, "right.wav").unwrap(),
                "{text:?} {pad:?} at {at}"
            );
        }
    }
}

/// A CAF as it comes out of a pipe: 16-bit little-endian samples up to the end.
#[test]
fn a_caf_of_unknown_length_is_read_to_its_end() {
    let caf = |length: i64, fill: usize| {
        let mut bytes = b"caff\0\x01\0\0desc\0\0\0\0\0\0\0\x20".to_vec();
        bytes.extend(51_200_f64.to_be_bytes());
        bytes.extend(b"lpcm");
        let layout: [u32; 5] = [2, 2, 1, 1, 16];
        layout
            .iter()
            .for_each(|field| bytes.extend(field.to_be_bytes()));
        bytes.extend(b"free");
        bytes.extend((fill as u64).to_be_bytes());
        bytes.extend(vec![7; fill]);
        bytes.extend(b"data");
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(s16(0..500));
        bytes
    };
    let expected = samples_of(&wav(51_200, 1, 1, 16, &s16(0..500)), "a.wav").unwrap();
    for fill in [0, 1, 5000] {
        for length in [1004, -1] {
            let bytes = caf(length, fill);
            let voice = decode_voice(&bytes, "a.caf", 600.0).unwrap();
            assert!(voice.samples == expected, "{length} {fill}");
            assert_eq!(voice.seconds, 500.0 / 51_200.0);
            let tagged = [b"ID3\x04\0\0\0\0\0\x05abcde", &bytes[..]].concat();
            assert!(samples_of(&tagged, "a.caf").unwrap() == expected);
            for cut in (0..bytes.len() - 1000).step_by(7) {
                assert!(samples_of(&bytes[..cut], "cut.caf").is_err(), "at {cut}");
            }
        }
    }
    for length in [-2, i64::MIN, i64::MAX] {
        assert!(samples_of(&caf(length, 0), "a.caf").is_err(), "{length}");
    }
}

#[test]
fn rf64_is_wav_with_long_lengths() {
    let plain = wav(51_200, 1, 1, 16, &s16(0..5000));
    let expected = samples_of(&plain, "plain.wav").unwrap();
    for (mark, length) in [(b"RF64", u32::MAX), (b"BW64", u32::MAX), (b"RF64", 10_000)] {
        let mut sizes = b"ds64\x1c\0\0\0".to_vec();
        sizes.extend([0; 8]);
        sizes.extend(10_000_u64.to_le_bytes());
        sizes.extend([0; 12]);
        let mut long = [&mark[..], &[0xff; 4], &plain[8..12], &sizes, &plain[12..40]].concat();
        long.extend(length.to_le_bytes());
        long.extend(&plain[44..]);
        long.extend(b"LIST\x04\0\0\0INFO");
        assert!(samples_of(&long, "long.wav").unwrap() == expected);
    }
}

/// AAC without a container has no place for the encoder's delay: one frame or two of silence come first.
#[test]
fn aac_in_adts_is_read() {
    let voice = samples_of(&sample("tone.aac"), "tone.aac").unwrap();
    assert!(
        (12_800..12_800 + 4 * 1_189).contains(&voice.len()),
        "{}",
        voice.len()
    );
    let peak = voice.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
    assert!((0.1..0.15).contains(&peak), "{peak}");
}

#[test]
fn other_files_are_refused_by_name_with_the_command_that_converts_them() {
    let ogg = |head: &[u8]| [&b"OggS\0\x02"[..], &[0; 20], b"\x01\x13", head].concat()[..].to_vec();
    let mut opus = ogg(b"");
    opus.truncate(28);
    opus.extend(b"OpusHead\x01\x01");
    let mut gsm = wav(8_000, 1, 0x31, 8, &[0; 65]);
    gsm[34] = 0;
    for (bytes, kind) in [
        (opus, "an Ogg Opus file"),
        (b"#!AMR\n1234".to_vec(), "an AMR file"),
        (
            b"\x1a\x45\xdf\xa3\x01\0\0".to_vec(),
            "a Matroska or WebM file",
        ),
        (
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6".to_vec(),
            "a WMA or other ASF file",
        ),
        (b"RIFF\x10\0\0\0AVI LIST".to_vec(), "an AVI video"),
        (b"\xff\xfd\x84\x04".repeat(10), "an MP2 file"),
        (gsm, "a WAV file of GSM 6.10"),
        (wav(8_000, 1, 0x55, 16, &[0; 64]), "a WAV file of MP3"),
    ] {
        let error = samples_of(&bytes, "my voice.x").unwrap_err();
        let text = error.to_string();
        assert_eq!(error.exit_code(), 3, "{text}");
        assert!(
            text.contains(&format!("my voice.x: is {kind}; expected WAV, ")),
            "{text}"
        );
        let command = "ffmpeg -i 'my voice.x' -ac 1 'my voice.x.wav'";
        assert!(text.ends_with(command), "{text}");
    }
    for (bytes, problem) in [
        (
            &b"\x89PNG\r\n\x1a\n"[..],
            "is a PNG picture; expected WAV, ",
        ),
        (b"%PDF-1.7", "is a PDF document; expected WAV, "),
        (
            b"<!DOCTYPE html>",
            "is a web page (HTML), not the file; download",
        ),
        (
            b"\n<html><body>",
            "is a web page (HTML), not the file; download",
        ),
        (
            b"{\"error\":\"gone\"}",
            "is a server's answer, not the file: ",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a git-LFS pointer",
        ),
    ] {
        let text = samples_of(bytes, "a.wav").unwrap_err().to_string();
        assert!(text.starts_with(&format!("a.wav: {problem}")), "{text}");
        assert!(!text.contains("ffmpeg"), "{text}");
    }
    let six = samples_of(&wav(44_100, 6, 1, 16, &s16([1; 60])), "six.wav").unwrap_err();
    assert!(
        six.to_string()
            .ends_with("ffmpeg -i 'six.wav' -ac 1 'six.wav.wav'"),
        "{six}"
    );
}

proptest! {
    #![proptest_config(config(1000))]

    /// Damaged files of the coded kinds, too.
    #[test]
    fn mutated_coded_sounds_do_not_panic(
        name in prop::sample::select(vec!["tone.flac", "tone.mp3", "tone.m4a", "tone.ogg", "tone.caf", "tone.aac", "alac.m4a"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sample(name);
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = decode_voice(&bytes, name, 0.2);
    }

    /// Damaged files are read or refused, never a panic.
    #[test]
    fn mutated_sounds_do_not_panic(
        changes in prop::collection::vec((0_usize..60, any::<u8>()), 1..6),
        cut in prop::option::of(0_usize..200),
    ) {
        let mut bytes = wav(48_000, 2, 1, 16, &s16((0..40).map(|i| i * 700)));
        for &(at, value) in &changes {
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        let _ = decode_voice(&bytes, "mutated", 1.0);
    }
}
