//! The MP4 boxes that say how samples are coded.

use super::{
    aac::AAC_FRAME,
    boxes::{full_box, put, u32_be},
    clip::{Color, SAMPLE_RATE},
    mp4::{AUDIO_ID, AudioTrack, VideoTrack},
};

/// The picture: H.264 with its parameter sets, colours and square pixels.
pub(super) fn avc1(b: &mut Vec<u8>, video: &VideoTrack<'_>) {
    put(b, b"avc1", |b| {
        b.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        b.extend([0; 16]);
        b.extend((video.width as u16).to_be_bytes());
        b.extend((video.height as u16).to_be_bytes());
        // 72 dots per inch both ways, one frame per sample, no compressor name, 24 bits, no colour table
        for value in [0x48_0000, 0x48_0000, 0] {
            u32_be(b, value);
        }
        b.extend([0, 1]);
        b.extend([0; 32]);
        b.extend([0, 24, 0xff, 0xff]);
        put(b, b"avcC", |b| avc_configuration(b, video));
        if video.color == Color::Bt709 {
            put(b, b"colr", |b| {
                b.extend(b"nclx");
                // primaries, transfer and matrix are all number 1, BT.709; limited range
                b.extend([0, 1, 0, 1, 0, 1, 0]);
            });
        }
        put(b, b"pasp", |b| {
            u32_be(b, 1);
            u32_be(b, 1);
        });
    });
}

fn avc_configuration(b: &mut Vec<u8>, video: &VideoTrack<'_>) {
    // version, then profile, compatibility and level as the parameter set says, 4-byte lengths, one set
    b.push(1);
    b.extend(&video.sps[1..4]);
    b.extend([0xff, 0xe1]);
    b.extend((video.sps.len() as u16).to_be_bytes());
    b.extend(video.sps);
    b.push(1);
    b.extend((video.pps.len() as u16).to_be_bytes());
    b.extend(video.pps);
    // The high profiles say their format again: 4:2:0, 8 bits, no further sets.
    if video.sps[1] >= 100 {
        b.extend([0xfd, 0xf8, 0xf8, 0]);
    }
}

/// The sound: AAC with its configuration.
pub(super) fn mp4a(b: &mut Vec<u8>, audio: &AudioTrack<'_>) {
    put(b, b"mp4a", |b| {
        b.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        b.extend([0; 8]);
        // 2 channels of 16 bits
        b.extend([0, 2, 0, 16, 0, 0, 0, 0]);
        u32_be(b, (SAMPLE_RATE as u32) << 16);
        full_box(b, b"esds", 0, 0, |b| elementary_stream(b, audio));
    });
}

/// The nested descriptors of MPEG-4 systems, each with a tag and a one-byte length.
fn elementary_stream(b: &mut Vec<u8>, audio: &AudioTrack<'_>) {
    let config_bytes = audio.config.len() as u8;
    let decoder_bytes = 13 + 2 + config_bytes;
    b.extend([3, 3 + 2 + decoder_bytes + 3, 0, AUDIO_ID as u8, 0]);
    // object type AAC, stream type audio, buffer size unknown
    b.extend([4, decoder_bytes, 0x40, 0x15, 0, 0, 0]);
    let (peak, average) = bit_rates(audio);
    u32_be(b, peak);
    u32_be(b, average);
    b.extend([5, config_bytes]);
    b.extend(audio.config);
    b.extend([6, 1, 2]);
}

/// Bits per second of the largest frame and of all frames together.
fn bit_rates(audio: &AudioTrack<'_>) -> (u32, u32) {
    let rate = |bytes: usize, frames: usize| {
        let bits = 8 * bytes as u64 * SAMPLE_RATE as u64;
        u32::try_from(bits / (frames as u64 * AAC_FRAME as u64)).unwrap_or(u32::MAX)
    };
    let largest = audio.frames.iter().map(|f| f.len()).max().unwrap_or(0);
    let total = audio.frames.iter().map(|f| f.len()).sum();
    (rate(largest, 1), rate(total, audio.frames.len()))
}
