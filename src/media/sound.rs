//! A voice track: WAV, MP3, M4A or FLAC to mono at 51 200 Hz in 16-bit steps, as in the reference
//! (`pipeline/video_process.py`, `load_audio_and_encode`, which calls `whisper.load_audio`).
//!
//! 51 200 is 25 frames times 2048 samples per audio latent. Stereo is averaged. The resampler is ours
//! ([`resample_sinc`]) and the reference's is ffmpeg's default, so values agree closely, not exactly.

use std::{io::Cursor, path::Path};

use symphonia::core::{
    codecs::audio::{AudioDecoder, AudioDecoderOptions},
    errors::Error as DecodeError,
    formats::{FormatOptions, FormatReader, Track, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use crate::{Error, Result};

use super::{
    edit_list::{Edit, sound_edit},
    read::read_file,
    sinc::resample_sinc,
};

/// Sample rate that the audio encoder takes, Hz.
pub const VOICE_RATE: u32 = 51_200;
/// Longest voice track that is read when no length is requested.
pub const MAX_VOICE_SECONDS: u32 = 600;
/// Longest sound file that is read: ten minutes of stereo at 192 kHz in 32 bits are 0.9 GiB.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;
/// Highest sample rate that is read, in Hz.
const MAX_RATE: u32 = 768_000;
/// Bytes of the header, and of the optional footer, of an ID3v2 block.
const ID3_HEADER_BYTES: usize = 10;

/// Reads the audio file at `path`: mono f32 `[samples]` at [`VOICE_RATE`], each value a multiple of 1/32768. With
/// `seconds`, only the first `trunc(seconds * 51200)` samples, at most [`MAX_VOICE_SECONDS`]; otherwise all.
///
/// # Errors
/// [`Error::Input`] naming the file if it is unreadable, of another format, damaged or truncated, without samples,
/// with more than two channels, with values that are not finite, or (without `seconds`) longer than
/// [`MAX_VOICE_SECONDS`].
pub fn open_voice(path: &Path, seconds: Option<f64>) -> Result<Vec<f32>> {
    let bytes = read_file(path, MAX_FILE_BYTES)?;
    decode_voice(&bytes, &path.display().to_string(), seconds)
}

/// [`open_voice`] from bytes; messages call them `name`.
///
/// # Errors
/// As [`open_voice`].
pub fn decode_voice(bytes: &[u8], name: &str, seconds: Option<f64>) -> Result<Vec<f32>> {
    let bytes = without_id3(bytes);
    let sound = decode(bytes, seconds)
        .map(|sound| edited(sound, sound_edit(bytes)))
        .map_err(|problem| Error::input(name, problem))?;
    if sound.mono.is_empty() {
        return Err(Error::input(
            name,
            "has no samples; expected a sound of some length",
        ));
    }
    if let Some(i) = sound.mono.iter().position(|x| !x.is_finite()) {
        return Err(Error::input(
            name,
            format!("has a value that is not a number at sample {i}; repair or re-export it"),
        ));
    }
    let mut voice = resample_sinc(&sound.mono, sound.rate, VOICE_RATE);
    if let Some(seconds) = seconds {
        voice.truncate((seconds * f64::from(VOICE_RATE)) as usize);
    }
    for x in &mut voice {
        *x = (*x * 32768.0).round_ties_even().clamp(-32768.0, 32767.0) / 32768.0;
    }
    Ok(voice)
}

/// One channel at the file's own rate.
struct Sound {
    rate: u32,
    mono: Vec<f32>,
}

/// The audio of a file: all of it, or a little more than the first `seconds`.
fn decode(bytes: &[u8], seconds: Option<f64>) -> Result<Sound, String> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|e| format!("is not a WAV, MP3, M4A or FLAC file ({e})"))?;
    let track = format
        .default_track(TrackType::Audio)
        .ok_or("has no sound track")?
        .clone();
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|p| p.audio())
        .ok_or("has a sound track of an unknown kind")?;
    let rate = parameters.sample_rate.unwrap_or(0);
    if !(1..=MAX_RATE).contains(&rate) {
        return Err(format!(
            "has a sample rate of {rate} Hz; expected 1 to {MAX_RATE}"
        ));
    }
    if let Some(channels) = &parameters.channels {
        check_channels(channels.count())?;
    }
    let expected = expected_samples(&track, rate);
    let longest = MAX_VOICE_SECONDS as usize * rate as usize;
    let limit = match seconds {
        // A tenth of a second more, so that the resampler sees what follows the cut.
        Some(seconds) => (((seconds + 0.1) * f64::from(rate)) as usize).min(longest),
        None => {
            check_length(expected.unwrap_or(0), rate)?;
            longest + 1
        }
    };
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|e| format!("holds sound of a kind that is not read ({e})"))?;
    let mono = decode_packets(format.as_mut(), decoder.as_mut(), track.id, limit)?;
    if seconds.is_none() {
        check_length(mono.len() as u64, rate)?;
    }
    match expected {
        Some(samples) if samples > mono.len() as u64 && mono.len() < limit => Err(format!(
            "is truncated: its header says {samples} samples, {} are there",
            mono.len()
        )),
        _ => Ok(Sound { rate, mono }),
    }
}

/// Samples that the file's header promises, if it is exact; that of an MP3 is only an estimate.
fn expected_samples(track: &Track, rate: u32) -> Option<u64> {
    let is_mpeg = track
        .codec_params
        .as_ref()
        .and_then(|p| p.audio())
        .is_some_and(|p| p.codec == symphonia::core::codecs::audio::well_known::CODEC_ID_MP3);
    let is_in_samples = track
        .time_base
        .is_none_or(|base| base.numer.get() == 1 && base.denom.get() == rate);
    match track.num_frames {
        Some(samples) if !is_mpeg && is_in_samples => Some(samples),
        _ => None,
    }
}

fn check_length(samples: u64, rate: u32) -> Result<(), String> {
    if samples > u64::from(MAX_VOICE_SECONDS) * u64::from(rate) {
        return Err(format!(
            "lasts at least {:.0} s; expected at most {MAX_VOICE_SECONDS} s, cut it",
            samples as f64 / f64::from(rate)
        ));
    }
    Ok(())
}

fn check_channels(count: usize) -> Result<(), String> {
    if !(1..=2).contains(&count) {
        return Err(format!(
            "has {count} channels; expected 1 or 2, mix it down first"
        ));
    }
    Ok(())
}

/// At most `limit` samples of track `track_id`, averaged over its channels.
fn decode_packets(
    format: &mut dyn FormatReader,
    decoder: &mut dyn AudioDecoder,
    track_id: u32,
    limit: usize,
) -> Result<Vec<f32>, String> {
    let mut mono: Vec<f32> = Vec::new();
    let mut interleaved: Vec<f32> = Vec::new();
    while mono.len() < limit {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(DecodeError::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(e) => return Err(damaged(mono.len(), &e)),
        };
        if packet.track_id != track_id {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            // An MP3 that was cut out of a longer one begins with frames that refer to missing data.
            Err(DecodeError::DecodeError(_)) if mono.is_empty() => continue,
            Err(e) => return Err(damaged(mono.len(), &e)),
        };
        let channels = decoded.spec().channels().count();
        check_channels(channels)?;
        decoded.copy_to_vec_interleaved(&mut interleaved);
        match channels {
            1 => mono.extend(&interleaved),
            _ => mono.extend(interleaved.chunks_exact(2).map(|p| 0.5 * p[0] + 0.5 * p[1])),
        }
    }
    mono.truncate(limit);
    Ok(mono)
}

fn damaged(samples: usize, error: &DecodeError) -> String {
    format!("is damaged after {samples} samples ({error})")
}

/// The part of `sound` that the edit list names.
fn edited(mut sound: Sound, edit: Option<Edit>) -> Sound {
    if let Some(edit) = edit {
        let samples = |seconds: f64| (seconds * f64::from(sound.rate)).round() as usize;
        let start = samples(edit.start_seconds).min(sound.mono.len());
        let length = edit.length_seconds.map(samples);
        sound.mono.drain(..start);
        sound.mono.truncate(length.unwrap_or(usize::MAX));
    }
    sound
}

/// The file behind an ID3v2 tag, which may hold an image longer than the prober searches.
fn without_id3(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some([b'I', b'D', b'3', _, _, flags, size @ ..]) = rest.get(..ID3_HEADER_BYTES) {
        let size = size
            .iter()
            .fold(0, |sum, &byte| sum << 7 | usize::from(byte & 0x7f));
        let footer = if flags & 0x10 == 0 {
            0
        } else {
            ID3_HEADER_BYTES
        };
        match rest.get(ID3_HEADER_BYTES + size + footer..) {
            Some(behind) => rest = behind,
            None => return rest,
        }
    }
    rest
}
