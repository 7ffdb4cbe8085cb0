//! The MP4 writer: one H.264 track, at most one AAC track, `moov` first, no clocks.
//!
//! Every track has an edit list, so that video and audio start together although the AAC decoder first puts out
//! [`AAC_DELAY`] samples of padding. The last AAC frame is as long as what it holds, so that players that know nothing of
//! edits have the length right too. The movie's clock has 44 100 units per second, in which a frame (1764) and a
//! sample are whole. Chunks hold one second, video and audio alternating, so that a player reads forward. Creation
//! times are 0: the same input gives the same bytes.

use crate::{
    Error, Result,
    media::clip::{Color, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Tags},
};

use super::{
    aac::{AAC_DELAY, AAC_FRAME},
    boxes::{boxed, full_box, put, u32_be, words},
    sample_entry::{avc1, mp4a},
};

/// Units per second of the video track.
const VIDEO_TIMESCALE: u32 = 12_800;
/// Units per frame of the video track.
const FRAME_UNITS: u32 = VIDEO_TIMESCALE / FPS as u32;
const VIDEO_ID: u32 = 1;
const AUDIO_ID: u32 = 2;
/// The identity of a rotation and scale in a header.
const UNITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Encoded video at 25 frames per second, in display order.
#[derive(Clone, Debug)]
pub struct VideoTrack<'a> {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Sequence parameter set.
    pub sps: &'a [u8],
    /// Picture parameter set.
    pub pps: &'a [u8],
    /// Frames: NAL units after their 4-byte lengths.
    pub frames: Vec<&'a [u8]>,
    /// Frames of a GOP: frames 0, n, 2n, ... are key frames.
    pub gop_frames: usize,
    /// Colour tag.
    pub color: Color,
}

/// Encoded stereo audio at 44.1 kHz.
#[derive(Clone, Debug)]
pub struct AudioTrack<'a> {
    /// `AudioSpecificConfig`.
    pub config: &'a [u8],
    /// AAC frames of [`AAC_FRAME`] samples.
    pub frames: Vec<&'a [u8]>,
    /// Samples per channel to play, after [`AAC_DELAY`] that are skipped.
    pub samples: usize,
}

/// Passes the file's bytes to `write`, piece by piece.
///
/// # Errors
/// [`Error::Output`] (naming `clip`) if a track does not fit the format: no frames, a size over 65 535, a parameter
/// set or frame that is too short or too long, more samples than the AAC frames hold. Also the errors of `write`.
pub fn write_mp4(
    video: &VideoTrack<'_>,
    audio: Option<&AudioTrack<'_>>,
    tags: &Tags,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    check_video(video)?;
    if let Some(audio) = audio {
        check_audio(audio)?;
    }
    let layout = Layout::of(video, audio);
    let file_type = boxed(b"ftyp", |b| {
        b.extend(b"isom");
        u32_be(b, 0x200);
        b.extend(b"isomiso2avc1mp41");
    });
    // Offsets change the length of `moov` only by taking 4 or 8 bytes.
    let media_bytes = layout.media_bytes();
    let movie = |first: u64, is_wide: bool| {
        boxed(b"moov", |b| {
            movie(b, (video, audio), &layout, (first, is_wide));
            tags.write(b);
        })
    };
    let headers_bytes = |is_wide: bool| (file_type.len() + movie(0, is_wide).len()) as u64 + 16;
    let is_wide = headers_bytes(false) + media_bytes > u64::from(u32::MAX);
    let first = headers_bytes(is_wide);
    write(&file_type)?;
    write(&movie(first, is_wide))?;
    // Always the 16-byte header, so that its length does not depend on the content.
    let mut header = Vec::with_capacity(16);
    u32_be(&mut header, 1);
    header.extend(b"mdat");
    header.extend((16 + media_bytes).to_be_bytes());
    write(&header)?;
    for chunk in &layout.chunks {
        for sample in &chunk.samples {
            write(sample)?;
        }
    }
    Ok(())
}

fn refuse(problem: String) -> Error {
    Error::output("clip", problem)
}

fn check_video(video: &VideoTrack<'_>) -> Result<()> {
    let sizes = 1..=usize::from(u16::MAX);
    if !sizes.contains(&video.width) || !sizes.contains(&video.height) {
        return Err(refuse(format!(
            "an MP4 picture has 1 to 65535 pixels a side; given {}x{}",
            video.width, video.height
        )));
    }
    if video.gop_frames == 0 || video.frames.is_empty() {
        return Err(refuse("has no frames".into()));
    }
    for (name, set) in [("sequence", video.sps), ("picture", video.pps)] {
        if !(4..=usize::from(u16::MAX)).contains(&set.len()) {
            return Err(refuse(format!(
                "the {name} parameter set has {} bytes; expected 4 to 65535",
                set.len()
            )));
        }
    }
    check_samples("video", &video.frames, SAMPLES_PER_FRAME)
}

fn check_audio(audio: &AudioTrack<'_>) -> Result<()> {
    // Lengths in `esds` are written in one byte.
    if !(2..=64).contains(&audio.config.len()) {
        return Err(refuse(format!(
            "the AudioSpecificConfig has {} bytes; expected 2 to 64",
            audio.config.len()
        )));
    }
    check_samples("audio", &audio.frames, AAC_FRAME)?;
    let coded = audio.frames.len() * AAC_FRAME;
    // The last frame may be filled up, not superfluous.
    let filled = coded.checked_sub(audio.samples.saturating_add(AAC_DELAY));
    if audio.samples == 0 || filled.is_none_or(|filled| filled >= AAC_FRAME) {
        return Err(refuse(format!(
            "{} audio samples after a delay of {AAC_DELAY} do not fit the {coded} coded ones",
            audio.samples
        )));
    }
    Ok(())
}

/// Checks that counts, durations (`units` per frame, in the track's finest clock) and sizes fit 32 bits.
fn check_samples(track: &str, frames: &[&[u8]], units: usize) -> Result<()> {
    let fits = |value: usize| u32::try_from(value).is_ok();
    if frames.len().checked_mul(units).is_none_or(|d| !fits(d)) {
        return Err(refuse(format!(
            "{} {track} frames are more than a file holds",
            frames.len()
        )));
    }
    match frames.iter().position(|f| f.is_empty() || !fits(f.len())) {
        Some(i) => Err(refuse(format!(
            "{track} frame {i} has {} bytes; expected 1 to 4294967295",
            frames[i].len()
        ))),
        None => Ok(()),
    }
}

/// Consecutive samples of one track.
struct Chunk<'a> {
    is_video: bool,
    samples: Vec<&'a [u8]>,
}

impl Chunk<'_> {
    fn bytes(&self) -> u64 {
        self.samples.iter().map(|s| s.len() as u64).sum()
    }
}

/// The order of all chunks behind the headers.
struct Layout<'a> {
    chunks: Vec<Chunk<'a>>,
}

impl<'a> Layout<'a> {
    /// A second of video, then its audio, and so on; the rest of the audio comes last.
    fn of(video: &VideoTrack<'a>, audio: Option<&AudioTrack<'a>>) -> Self {
        let mut sound = audio.map_or(&[][..], |a| &a.frames[..]);
        let mut chunks = Vec::new();
        let mut sound_done = 0;
        let seconds = video.frames.chunks(FPS);
        let last = seconds.len() - 1;
        for (second, frames) in seconds.enumerate() {
            chunks.push(Chunk {
                is_video: true,
                samples: frames.to_vec(),
            });
            let end = ((second + 1) * SAMPLE_RATE + AAC_DELAY).div_ceil(AAC_FRAME);
            let count = if second == last {
                sound.len()
            } else {
                end.saturating_sub(sound_done).min(sound.len())
            };
            let (now, later) = sound.split_at(count);
            if !now.is_empty() {
                chunks.push(Chunk {
                    is_video: false,
                    samples: now.to_vec(),
                });
            }
            sound = later;
            sound_done += count;
        }
        Self { chunks }
    }

    fn media_bytes(&self) -> u64 {
        self.chunks.iter().map(Chunk::bytes).sum()
    }

    /// Sample counts and file offsets of one track's chunks, if the first chunk of the file is at `first`.
    fn of_track(&self, is_video: bool, first: u64) -> Vec<(u32, u64)> {
        let mut offset = first;
        let mut places = Vec::new();
        for chunk in &self.chunks {
            if chunk.is_video == is_video {
                places.push((chunk.samples.len() as u32, offset));
            }
            offset += chunk.bytes();
        }
        places
    }
}

/// The header and the tracks, for chunks that begin at `first`.
fn movie(
    b: &mut Vec<u8>,
    (video, audio): (&VideoTrack<'_>, Option<&AudioTrack<'_>>),
    layout: &Layout<'_>,
    (first, is_wide): (u64, bool),
) {
    let video_length = (video.frames.len() * SAMPLES_PER_FRAME) as u32;
    let audio_length = audio.map_or(0, |a| a.samples as u32);
    full_box(b, b"mvhd", 0, 0, |b| {
        // creation, modification, timescale, duration, rate 1.0, volume 1.0 and reserved
        words(
            b,
            [0, 0, SAMPLE_RATE as u32, video_length.max(audio_length)],
        );
        words(b, [0x1_0000, 0x0100_0000, 0, 0]);
        words(b, UNITY_MATRIX);
        b.extend([0; 24]);
        u32_be(b, AUDIO_ID + 1);
    });
    let track = Track {
        id: VIDEO_ID,
        length: video_length,
        media_time: 0,
        timescale: VIDEO_TIMESCALE,
        sample_units: FRAME_UNITS,
        units: video.frames.len() as u32 * FRAME_UNITS,
        frames: &video.frames,
        chunks: layout.of_track(true, first),
        is_wide,
    };
    track.write(b, &Kind::Video(video));
    if let Some(audio) = audio {
        let track = Track {
            id: AUDIO_ID,
            length: audio_length,
            media_time: AAC_DELAY as u32,
            timescale: SAMPLE_RATE as u32,
            sample_units: AAC_FRAME as u32,
            units: (AAC_DELAY + audio.samples) as u32,
            frames: &audio.frames,
            chunks: layout.of_track(false, first),
            is_wide,
        };
        track.write(b, &Kind::Audio(audio));
    }
}

enum Kind<'a> {
    Video(&'a VideoTrack<'a>),
    Audio(&'a AudioTrack<'a>),
}

/// What is written alike for both kinds of track.
struct Track<'a> {
    id: u32,
    /// Length that is played, in the movie's units.
    length: u32,
    /// Where playing starts, in the track's own units.
    media_time: u32,
    timescale: u32,
    sample_units: u32,
    /// Length of all samples in the track's own units; the last one has what the others leave.
    units: u32,
    frames: &'a [&'a [u8]],
    /// Samples and offset of each chunk.
    chunks: Vec<(u32, u64)>,
    is_wide: bool,
}

impl Track<'_> {
    fn write(&self, b: &mut Vec<u8>, kind: &Kind<'_>) {
        put(b, b"trak", |b| {
            self.header(b, kind);
            put(b, b"edts", |b| {
                full_box(b, b"elst", 0, 0, |b| {
                    words(b, [1, self.length, self.media_time, 0x1_0000]);
                });
            });
            put(b, b"mdia", |b| self.media(b, kind));
        });
    }

    fn header(&self, b: &mut Vec<u8>, kind: &Kind<'_>) {
        let (group, volume, width, height) = match kind {
            Kind::Video(video) => (0, 0, video.width as u32, video.height as u32),
            Kind::Audio(_) => (1, 0x0100_0000, 0, 0),
        };
        // flags: enabled, in the movie
        full_box(b, b"tkhd", 0, 3, |b| {
            words(b, [0, 0, self.id, 0, self.length, 0, 0, group, volume]);
            words(b, UNITY_MATRIX);
            words(b, [width << 16, height << 16]);
        });
    }

    fn media(&self, b: &mut Vec<u8>, kind: &Kind<'_>) {
        let (handler, name) = match kind {
            Kind::Video(_) => (b"vide", "VideoHandler"),
            Kind::Audio(_) => (b"soun", "SoundHandler"),
        };
        full_box(b, b"mdhd", 0, 0, |b| {
            words(b, [0, 0, self.timescale, self.units]);
            // language "und"
            u32_be(b, 0x55c4_0000);
        });
        full_box(b, b"hdlr", 0, 0, |b| {
            u32_be(b, 0);
            b.extend(handler);
            b.extend([0; 12]);
            b.extend(name.as_bytes());
            b.push(0);
        });
        put(b, b"minf", |b| {
            match kind {
                Kind::Video(_) => full_box(b, b"vmhd", 0, 1, |b| b.extend([0; 8])),
                Kind::Audio(_) => full_box(b, b"smhd", 0, 0, |b| u32_be(b, 0)),
            }
            put(b, b"dinf", |b| {
                full_box(b, b"dref", 0, 0, |b| {
                    u32_be(b, 1);
                    // the samples are in this very file
                    full_box(b, b"url ", 0, 1, |_| {});
                });
            });
            put(b, b"stbl", |b| self.sample_table(b, kind));
        });
    }

    fn sample_table(&self, b: &mut Vec<u8>, kind: &Kind<'_>) {
        let count = self.frames.len() as u32;
        full_box(b, b"stsd", 0, 0, |b| {
            u32_be(b, 1);
            match kind {
                Kind::Video(video) => {
                    let size = [video.width as u16, video.height as u16];
                    avc1(b, size, [video.sps, video.pps], video.color);
                }
                Kind::Audio(audio) => mp4a(b, AUDIO_ID as u8, audio.config, bit_rates(audio)),
            }
        });
        full_box(b, b"stts", 0, 0, |b| {
            let last = self.units - (count - 1) * self.sample_units;
            if last == self.sample_units {
                words(b, [1, count, last]);
            } else {
                words(b, [2, count - 1, self.sample_units, 1, last]);
            }
        });
        if let Kind::Video(video) = kind {
            full_box(b, b"stss", 0, 0, |b| {
                let gop_frames = video.gop_frames;
                u32_be(b, video.frames.len().div_ceil(gop_frames) as u32);
                words(b, (1..=count).step_by(gop_frames));
            });
        }
        full_box(b, b"stsc", 0, 0, |b| self.samples_per_chunk(b));
        full_box(b, b"stsz", 0, 0, |b| {
            words(b, [0, count]);
            words(b, self.frames.iter().map(|frame| frame.len() as u32));
        });
        let name = if self.is_wide { b"co64" } else { b"stco" };
        full_box(b, name, 0, 0, |b| {
            u32_be(b, self.chunks.len() as u32);
            for &(_, offset) in &self.chunks {
                if self.is_wide {
                    b.extend(offset.to_be_bytes());
                } else {
                    u32_be(b, offset as u32);
                }
            }
        });
        if let Kind::Audio(_) = kind {
            roll_group(b, count);
        }
    }

    /// Run-length encoded samples per chunk.
    fn samples_per_chunk(&self, b: &mut Vec<u8>) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (number, &(samples, _)) in (1..).zip(&self.chunks) {
            if runs.last().is_none_or(|&(_, last)| last != samples) {
                runs.push((number, samples));
            }
        }
        u32_be(b, runs.len() as u32);
        for (first, samples) in runs {
            words(b, [first, samples, 1]);
        }
    }
}

/// Sample group "decode one frame earlier": the overlap of AAC, for players that seek.
fn roll_group(b: &mut Vec<u8>, count: u32) {
    full_box(b, b"sgpd", 1, 0, |b| {
        b.extend(b"roll");
        words(b, [2, 1]);
        b.extend((-1_i16).to_be_bytes());
    });
    full_box(b, b"sbgp", 0, 0, |b| {
        b.extend(b"roll");
        words(b, [1, count, 1]);
    });
}

/// Bits per second of the largest frame, and on average.
fn bit_rates(audio: &AudioTrack<'_>) -> [u32; 2] {
    let rate = |bytes: usize, frames: usize| {
        let bits = 8 * bytes as u64 * SAMPLE_RATE as u64;
        u32::try_from(bits / (frames as u64 * AAC_FRAME as u64)).unwrap_or(u32::MAX)
    };
    let largest = audio.frames.iter().map(|f| f.len()).max().unwrap_or(0);
    let total = audio.frames.iter().map(|f| f.len()).sum();
    [rate(largest, 1), rate(total, audio.frames.len())]
}
