//! The MP4 boxes that describe how samples are coded.

use crate::media::clip::{Color, SAMPLE_RATE};

use super::boxes::{full_box, put, u32_be, words};

/// Video: H.264 of `size` (width, height) with its parameter sets, colour tag and square pixels.
pub(super) fn avc1(b: &mut Vec<u8>, size: [u16; 2], [sps, pps]: [&[u8]; 2], color: Color) {
    put(b, b"avc1", |b| {
        b.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        b.extend([0; 16]);
        b.extend(size.map(u16::to_be_bytes).concat());
        // 72 dots per inch both ways, one frame per sample, no compressor name, 24 bits, no colour table
        words(b, [0x48_0000, 0x48_0000, 0]);
        b.extend([0, 1]);
        b.extend([0; 32]);
        b.extend([0, 24, 0xff, 0xff]);
        put(b, b"avcC", |b| avc_configuration(b, sps, pps));
        if color == Color::Bt709 {
            put(b, b"colr", |b| {
                b.extend(b"nclx");
                // primaries, transfer and matrix are all number 1, BT.709; limited range
                b.extend([0, 1, 0, 1, 0, 1, 0]);
            });
        }
        put(b, b"pasp", |b| {
            words(b, [1, 1]);
        });
    });
}

fn avc_configuration(b: &mut Vec<u8>, sps: &[u8], pps: &[u8]) {
    // version, then profile, compatibility and level as the parameter set says, 4-byte lengths, one set
    b.push(1);
    b.extend(&sps[1..4]);
    b.extend([0xff, 0xe1]);
    b.extend((sps.len() as u16).to_be_bytes());
    b.extend(sps);
    b.push(1);
    b.extend((pps.len() as u16).to_be_bytes());
    b.extend(pps);
    // The high profiles repeat their format: 4:2:0, 8 bits, no further sets.
    if sps[1] >= 100 {
        b.extend([0xfd, 0xf8, 0xf8, 0]);
    }
}

/// Audio of track `id`: AAC with its configuration, peak and average bits per second.
pub(super) fn mp4a(b: &mut Vec<u8>, id: u8, config: &[u8], rates: [u32; 2]) {
    put(b, b"mp4a", |b| {
        b.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        b.extend([0; 8]);
        // 2 channels of 16 bits
        b.extend([0, 2, 0, 16, 0, 0, 0, 0]);
        u32_be(b, (SAMPLE_RATE as u32) << 16);
        full_box(b, b"esds", 0, 0, |b| {
            elementary_stream(b, id, config, rates);
        });
    });
}

/// The nested descriptors of MPEG-4 systems, each a tag and a one-byte length.
fn elementary_stream(b: &mut Vec<u8>, id: u8, config: &[u8], [peak, average]: [u32; 2]) {
    let config_bytes = config.len() as u8;
    let decoder_bytes = 13 + 2 + config_bytes;
    b.extend([3, 3 + 2 + decoder_bytes + 3, 0, id, 0]);
    // object type AAC, stream type audio, buffer size unknown
    b.extend([4, decoder_bytes, 0x40, 0x15, 0, 0, 0]);
    words(b, [peak, average]);
    b.extend([5, config_bytes]);
    b.extend(config);
    b.extend([6, 1, 2]);
}
