//! Good, bad and hostile voice tracks.

use std::{f64::consts::TAU, fs, path::Path};

use gallop::media::{VOICE_RATE, decode_voice, open_voice, resample_sinc};
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
    let found = decode_voice(&wav(51_200, 1, 1, 16, &s16(values)), "a.wav", None).unwrap();
    let expected: Vec<f32> = values.iter().map(|&v| f32::from(v) / 32_768.0).collect();
    assert_eq!(found, expected);
}

#[test]
fn stereo_is_averaged_and_a_duration_cuts() {
    let pairs = (0..60_000).flat_map(|_| [1000_i16, 3000]);
    let bytes = wav(51_200, 2, 1, 16, &s16(pairs));
    let found = decode_voice(&bytes, "a.wav", Some(0.5)).unwrap();
    assert_eq!(found.len(), 25_600);
    assert!(found.iter().all(|&x| x == 2000.0 / 32_768.0));
}

#[test]
fn unusual_but_sound_files_are_read() {
    let silent = decode_voice(&wav(44_100, 1, 1, 16, &[0; 88_200]), "silent.wav", None).unwrap();
    assert_eq!(silent, vec![0.0; 51_200]);
    for rate in [8_000, 192_000] {
        let voice = tone(rate, 300.0, rate as usize);
        let data: Vec<u8> = voice.iter().flat_map(|x| x.to_le_bytes()).collect();
        let found = decode_voice(&wav(rate, 1, 3, 32, &data), "a.wav", None).unwrap();
        assert_eq!(found.len(), 51_200);
        assert!(distortion(&found, VOICE_RATE, 300.0, 2000) > 80.0, "{rate}");
    }
    // One sample, a loud float, and a tag before the file that is longer than a prober looks.
    assert_eq!(
        decode_voice(&wav(51_200, 1, 1, 16, &s16([5])), "a.wav", None)
            .unwrap()
            .len(),
        1
    );
    let loud = wav(51_200, 1, 3, 32, &7.5_f32.to_le_bytes());
    assert_eq!(
        decode_voice(&loud, "a.wav", None).unwrap(),
        [32_767.0 / 32_768.0]
    );
    let mut tagged = b"ID3\x04\0\0\0\x7f\x7f\x7f".to_vec();
    tagged.extend(vec![0; 0x1f_ffff]);
    tagged.extend(wav(51_200, 1, 1, 16, &s16([5])));
    assert_eq!(decode_voice(&tagged, "a.wav", None).unwrap().len(), 1);
}

fn sample(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(root.join("tests/media/samples").join(name)).unwrap()
}

/// A quarter of a second of 300 Hz at an eighth of full scale, each made by another program. One sample too early
/// or late would leave 27 dB.
#[test]
fn files_of_every_kind_start_and_end_in_time() {
    for (name, floor) in [("tone.flac", 60.0), ("tone.mp3", 32.0), ("tone.m4a", 32.0)] {
        let voice = decode_voice(&sample(name), name, None).unwrap();
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
        let error = decode_voice(&whole[..whole.len() * 3 / 5], name, None).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().starts_with(name), "{error}");
    }
    // An MP3 has no length of its own: what is there is read.
    let whole = sample("tone.mp3");
    let voice = decode_voice(&whole[..whole.len() * 3 / 5], "tone.mp3", None).unwrap();
    assert!((2_000..12_800).contains(&voice.len()), "{}", voice.len());
}

#[test]
fn hostile_sounds_get_one_sentence_with_the_name() {
    let mut one_hour = wav(44_100, 1, 1, 16, &s16([1; 100]));
    let hour_bytes = 3600 * 44_100 * 2_u32;
    one_hour[4..8].copy_from_slice(&(36 + hour_bytes).to_le_bytes());
    one_hour[40..44].copy_from_slice(&hour_bytes.to_le_bytes());
    let mut truncated = wav(44_100, 1, 1, 16, &s16([1; 1000]));
    truncated.truncate(500);
    let nan: Vec<u8> = [0.5, f32::NAN]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("no-samples.wav", wav(44_100, 1, 1, 16, &[]), "no samples"),
        (
            "hour.wav",
            one_hour,
            "lasts at least 3600 s; expected at most 600",
        ),
        (
            "nan.wav",
            wav(44_100, 1, 3, 32, &nan),
            "not a number at sample 1",
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
            "is not a WAV",
        ),
        (
            "header.wav",
            wav(44_100, 1, 1, 16, &[])[..20].to_vec(),
            "is not a WAV",
        ),
    ];
    for (name, bytes, expected) in cases {
        let error = match decode_voice(&bytes, name, None) {
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
fn an_hour_is_read_if_only_its_start_is_wanted() {
    let folder = Scratch::new("hour");
    let path = folder.path("hour.wav");
    let hour = wav(8_000, 1, 1, 16, &vec![0; 3600 * 8_000 * 2]);
    fs::write(&path, hour).unwrap();
    let error = open_voice(&path, None).unwrap_err();
    assert!(
        error.to_string().contains("lasts at least 3600 s"),
        "{error}"
    );
    assert_eq!(open_voice(&path, Some(4.0)).unwrap().len(), 4 * 51_200);
}

proptest! {
    #![proptest_config(config(1000))]

    /// Damaged files of the coded kinds, too.
    #[test]
    fn mutated_coded_sounds_do_not_panic(
        name in prop::sample::select(vec!["tone.flac", "tone.mp3", "tone.m4a"]),
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
        let _ = decode_voice(&bytes, name, Some(0.2));
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
        let _ = decode_voice(&bytes, "mutated", Some(1.0));
    }
}
