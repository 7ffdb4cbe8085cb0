//! A voice track: WAV, AIFF, CAF, MP3, AAC, M4A, FLAC or Ogg Vorbis to mono at 51 200 Hz in 16-bit steps, as in the
//! reference (`pipeline/video_process.py`, `load_audio_and_encode`, which calls `whisper.load_audio`).
//!
//! 51 200 is 25 frames times 2048 samples per audio latent. Stereo is averaged. The resampler is ours
//! ([`resample_sinc`]) and the reference's is ffmpeg's default, so values agree closely, not exactly. Only what is asked
//! for is read, decoded and resampled, however long the file is or claims to be.

use std::{io::Cursor, path::Path};

use symphonia::core::{
    codecs::audio::{AudioDecoder, AudioDecoderOptions, well_known::CODEC_ID_MP3},
    errors::Error as DecodeError,
    formats::{FormatOptions, FormatReader, Track, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use crate::{Error, Result, error::GivenFile};

use super::{
    edit_list::Edit,
    sinc::{LOBES, resample_sinc},
    sound_file::{SoundFile, Source},
    sound_names::{codec, conversion, no_sound, other_file, refusal},
};

/// Sample rate that the audio encoder takes, Hz.
pub const VOICE_RATE: u32 = 51_200;
/// Longest sound in memory. A file may be as long as it likes where its samples are found without a table of them.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;
/// Highest sample rate that is read, in Hz.
const MAX_RATE: u32 = 768_000;
/// Most of a file that may lie before the part that an edit list plays, seconds.
const MAX_SKIPPED_SECONDS: f64 = 60.0;
/// Most streams, one behind another, that are looked at for the part that is asked for.
const MAX_STREAMS: usize = 1000;

/// The beginning of a voice track.
#[derive(Clone, PartialEq, Debug)]
pub struct Voice {
    /// Mono f32 `[samples]` at [`VOICE_RATE`], each value a multiple of 1/32768.
    pub samples: Vec<f32>,
    /// Length of the whole track, seconds. Of an MP3 or CAF that is longer than what was read it may be too long by
    /// the silence that fills the last packet, 26 ms at 44.1 kHz. Of an Ogg file of several streams, one behind another,
    /// those that were not reached do not count.
    pub seconds: f64,
}

/// Reads the first `trunc(seconds * 51200)` samples of the audio file at `path`, or all if it has fewer.
///
/// # Errors
/// [`Error::Input`] naming the file if it is unreadable, of another format, damaged or truncated, without samples,
/// with more than two channels, or with values that are not finite.
pub fn open_voice(path: &Path, seconds: f64) -> Result<Voice> {
    let file = GivenFile::Input.open(path, MAX_FILE_BYTES)?;
    read_voice(Box::new(file), &path.display().to_string(), seconds)
}

/// [`open_voice`] from bytes; messages call them `name`.
///
/// # Errors
/// As [`open_voice`].
pub fn decode_voice(bytes: &[u8], name: &str, seconds: f64) -> Result<Voice> {
    read_voice(Box::new(Cursor::new(bytes)), name, seconds)
}

fn read_voice(source: Source<'_>, name: &str, seconds: f64) -> Result<Voice> {
    let file = SoundFile::open(source).map_err(|e| Error::input_io(name, e))?;
    if file.head.is_empty() {
        return Err(Error::input(name, "is empty"));
    }
    let sound = decode(file, name, seconds).map_err(|problem| Error::input(name, problem))?;
    if sound.mono.is_empty() {
        return Err(Error::input(
            name,
            "has no samples; expected a sound of some length",
        ));
    }
    if let Some(i) = sound.mono.iter().position(|x| !x.is_finite()) {
        let kinds = ["an infinite value", "a value that is not a number"];
        let what = kinds[usize::from(sound.mono[i].is_nan())];
        let problem = format!("has {what} at sample {i}; repair or re-export it");
        return Err(Error::input(name, problem));
    }
    let mut samples = resample_sinc(&sound.mono, sound.rate, VOICE_RATE);
    samples.truncate((seconds * f64::from(VOICE_RATE)) as usize);
    for x in &mut samples {
        *x = (*x * 32768.0).round_ties_even().clamp(-32768.0, 32767.0) / 32768.0;
    }
    Ok(Voice {
        samples,
        seconds: sound.seconds,
    })
}

/// One channel at the file's own rate.
struct Sound {
    rate: u32,
    mono: Vec<f32>,
    /// Length of the whole track, seconds.
    seconds: f64,
}

/// A little more than the first `seconds` of the audio of a file.
fn decode(file: SoundFile<'_>, name: &str, seconds: f64) -> Result<Sound, String> {
    if let Some(problem) = no_sound(&file.head) {
        return Err(problem);
    }
    if let Some(what) = other_file(&file.head) {
        return Err(refusal(name, what));
    }
    let stream = MediaSourceStream::new(Box::new(file.stream), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(
            &Hint::new(),
            stream,
            FormatOptions::default(),
            MetadataOptions::default(),
        )
        .map_err(|e| refusal(name, &format!("not a sound file that is known ({e})")))?;
    let (mut track, mut decoder, rate) = open_track(format.as_ref(), name)?;
    // The headers of an MP3 estimate, and those of a CAF count the samples that fill its last packet.
    let is_rough = decoder.codec_params().codec == CODEC_ID_MP3 || file.head.starts_with(b"caff");
    let in_samples = |seconds: f64| (seconds * f64::from(rate)).round() as usize;
    let skipped = file.edit.map_or(0.0, |edit| edit.start_seconds);
    // More than is asked for, so that the resampler sees what follows the cut.
    let more = rate as usize / 10 + 2 * LOBES;
    let limit = in_samples(skipped.min(MAX_SKIPPED_SECONDS)) + in_samples(seconds) + more;
    let mut mono = decode_packets(
        format.as_mut(),
        (&mut track, &mut decoder),
        (name, rate),
        limit,
    )?;
    let read = mono.len() as u64;
    let expected = file.samples.or_else(|| expected_samples(&track, rate));
    let all = match expected.filter(|_| !is_rough) {
        Some(samples) if samples > read && mono.len() < limit => {
            return Err(format!(
                "is truncated: its header says {samples} samples, {read} are there"
            ));
        }
        _ if mono.len() < limit => read,
        Some(samples) => samples.max(read),
        None => read + count_samples(format.as_mut(), &track, rate),
    };
    mono.truncate(limit);
    mono.drain(..in_samples(skipped).min(mono.len()));
    let length = file.edit.and_then(|edit: Edit| edit.length_seconds);
    mono.truncate(length.map_or(usize::MAX, in_samples));
    let behind = (all as f64 / f64::from(rate) - skipped).max(0.0);
    Ok(Sound {
        rate,
        mono,
        seconds: length.map_or(behind, |length| length.min(behind)),
    })
}

/// The sound track of a file, its decoder and its sample rate.
fn open_track(
    format: &dyn FormatReader,
    name: &str,
) -> Result<(Track, Box<dyn AudioDecoder>, u32), String> {
    let track = format
        .default_track(TrackType::Audio)
        .ok_or("has no sound track")?
        .clone();
    let unread = |kind| refusal(name, &format!("a file with sound of {kind}"));
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|p| p.audio())
        .ok_or_else(|| unread("another kind"))?;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|_| unread(codec(parameters.codec)))?;
    let rate = parameters.sample_rate.unwrap_or(0);
    if !(1..=MAX_RATE).contains(&rate) {
        return Err(format!(
            "has a sample rate of {rate} Hz; expected 1 to {MAX_RATE}"
        ));
    }
    if let Some(channels) = &parameters.channels {
        check_channels(channels.count(), name)?;
    }
    Ok((track, decoder, rate))
}

/// Samples that the file's header promises, if it counts in samples.
fn expected_samples(track: &Track, rate: u32) -> Option<u64> {
    let is_in_samples = track
        .time_base
        .is_none_or(|base| base.numer.get() == 1 && base.denom.get() == rate);
    track.num_frames.filter(|_| is_in_samples)
}

/// Samples of the packets up to the end of the track, of which none is decoded.
fn count_samples(format: &mut dyn FormatReader, track: &Track, rate: u32) -> u64 {
    let mut ticks = 0.0;
    while let Ok(Some(packet)) = format.next_packet() {
        if packet.track_id == track.id {
            ticks += packet.dur.get() as f64;
        }
    }
    let samples_per_tick = track.time_base.map_or(1.0, |base| {
        f64::from(rate) * f64::from(base.numer.get()) / f64::from(base.denom.get())
    });
    (ticks * samples_per_tick) as u64
}

fn check_channels(count: usize, name: &str) -> Result<(), String> {
    if !(1..=2).contains(&count) {
        return Err(format!(
            "has {count} channels; expected 1 or 2, {}",
            conversion(name)
        ));
    }
    Ok(())
}

/// A little more than `limit` samples of a track, averaged over its channels. In an Ogg file another may follow it, which
/// then is the `track`.
fn decode_packets(
    format: &mut dyn FormatReader,
    (track, decoder): (&mut Track, &mut Box<dyn AudioDecoder>),
    (name, rate): (&str, u32),
    limit: usize,
) -> Result<Vec<f32>, String> {
    let mut mono: Vec<f32> = Vec::new();
    let mut interleaved: Vec<f32> = Vec::new();
    let mut streams = 1;
    while mono.len() < limit {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(DecodeError::IoError(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(DecodeError::ResetRequired) if streams < MAX_STREAMS => {
                streams += 1;
                let (next, its_decoder, its_rate) = open_track(format, name)?;
                if its_rate != rate {
                    let (at, remedy) = (mono.len(), conversion(name));
                    return Err(format!(
                        "goes on at {its_rate} Hz after {at} samples at {rate}; expected one sample rate, {remedy}"
                    ));
                }
                (*track, *decoder) = (next, its_decoder);
                // A header tells of one of them.
                track.num_frames = None;
                continue;
            }
            Err(e) => return Err(damaged(mono.len(), &e)),
        };
        if packet.track_id != track.id {
            continue;
        }
        let decoded = match decoder.decode(&packet) {
            Ok(decoded) => decoded,
            // An MP3 that was cut out of a longer one begins with frames that refer to missing data.
            Err(DecodeError::DecodeError(_)) if mono.is_empty() => continue,
            Err(e) => return Err(damaged(mono.len(), &e)),
        };
        let channels = decoded.spec().channels().count();
        check_channels(channels, name)?;
        decoded.copy_to_vec_interleaved(&mut interleaved);
        match channels {
            1 => mono.extend(&interleaved),
            _ => mono.extend(interleaved.chunks_exact(2).map(|p| 0.5 * p[0] + 0.5 * p[1])),
        }
    }
    Ok(mono)
}

fn damaged(samples: usize, error: &DecodeError) -> String {
    format!("is damaged after {samples} samples ({error})")
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{self, Read, Seek, SeekFrom},
        path::PathBuf,
    };

    use symphonia::core::io::MediaSource;

    use super::*;

    /// A file whose length was asked for before more was written to it, or before it was cut.
    struct Changing {
        there: Cursor<Vec<u8>>,
        told: u64,
    }

    impl Read for Changing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.there.read(buffer)
        }
    }

    impl Seek for Changing {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.there.seek(match to {
                SeekFrom::End(by) => SeekFrom::Start(self.told.saturating_add_signed(by)),
                to => to,
            })
        }
    }

    impl MediaSource for Changing {
        fn is_seekable(&self) -> bool {
            true
        }

        fn byte_len(&self) -> Option<u64> {
            Some(self.told)
        }
    }

    fn read(there: &[u8], told: usize) -> Result<Voice> {
        let source = Changing {
            there: Cursor::new(there.to_vec()),
            told: told as u64,
        };
        read_voice(Box::new(source), "a", 0.1)
    }

    #[test]
    fn a_file_that_changes_between_two_reads_is_no_panic() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/media/samples");
        let mut kinds = 0;
        for entry in fs::read_dir(folder).expect("the samples") {
            let path = entry.expect("a sample").path();
            let name = path.display().to_string();
            if name.contains("gradient") {
                continue;
            }
            kinds += 1;
            let plain = fs::read(&path).expect("a sample");
            let tagged = [&b"ID3\x04\0\0\0\0\0\x10"[..], &[0; 16], &plain].concat();
            for bytes in [plain, tagged] {
                let near = (0..64).chain(bytes.len() - 8..bytes.len() + 8);
                for told in near.chain((64..2 * bytes.len()).step_by(997)) {
                    if let Err(error) = read(&bytes, told) {
                        assert_eq!(error.exit_code(), 3, "{name}: {error}");
                    }
                }
            }
        }
        assert!(kinds > 7, "{kinds}");
    }

    /// Nothing is known of what comes after the length was asked for, so it is left out.
    #[test]
    fn of_a_wav_that_is_still_written_what_was_there_is_read() {
        let head = *b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\0\xc8\0\0\0\x90\x01\0\x02\0\x10\0data\xff\xff\xff\xff";
        let samples: Vec<u8> = (0..600_i16).flat_map(i16::to_le_bytes).collect();
        let whole = [&head[..], &samples].concat();
        for told in [46, 47, 100, 145, 1244] {
            let cut = decode_voice(&whole[..told], "a", 0.1).expect("a voice");
            assert_eq!(cut.samples.len(), (told - head.len()) / 2);
            assert_eq!(read(&whole, told).expect("a voice"), cut);
        }
    }

    #[test]
    fn what_a_table_names_beyond_every_length_is_the_end() {
        let tagged = [&b"ID3\x04\0\0\0\0\0\x10"[..], &[0; 48]].concat();
        let mut stream = SoundFile::open(Box::new(Cursor::new(tagged)))
            .expect("bytes")
            .stream;
        for (at, expected) in [(31, 1), (32, 0), (u64::MAX, 0)] {
            stream.seek(SeekFrom::Start(at)).expect("any place");
            assert_eq!(stream.read(&mut [0; 9]).expect("bytes"), expected, "{at}");
        }
    }
}
