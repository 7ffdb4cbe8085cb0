//! The MP4 writer with arbitrary tracks: it refuses them, or writes boxes that fill the file exactly.

#![no_main]

use gallop::media::{AAC_DELAY, AAC_FRAME, AudioTrack, Color, Tags, VideoTrack, write_mp4};
use libfuzzer_sys::fuzz_target;

/// Most bytes of one frame, and most frames of one track; larger ones differ in nothing but time.
const MOST: usize = 300;

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let video = VideoTrack {
        width: input.size(),
        height: input.size(),
        sps: input.bytes(),
        pps: input.bytes(),
        frames: input.frames(),
        gop_frames: input.size(),
        color: if input.size().is_multiple_of(2) {
            Color::Bt709
        } else {
            Color::Reference
        },
    };
    let audio = input.size().is_multiple_of(2).then(|| {
        let (config, frames) = (input.bytes(), input.frames());
        // Few numbers fit, so count from the end.
        let samples = (AAC_FRAME * frames.len()).wrapping_sub(AAC_DELAY.wrapping_add(input.size()));
        AudioTrack {
            config,
            frames,
            samples,
        }
    });
    let mut file = Vec::new();
    let tags = Tags {
        comment: String::from_utf8_lossy(input.bytes()).into(),
        ..Tags::default()
    };
    let written = write_mp4(&video, audio.as_ref(), &tags, &mut |bytes| {
        file.extend(bytes);
        Ok(())
    });
    if written.is_ok() {
        check(&file, &video, audio.as_ref());
    }
});

/// `ftyp`, `moov` and `mdat` follow each other, and `mdat` holds every frame.
fn check(file: &[u8], video: &VideoTrack<'_>, audio: Option<&AudioTrack<'_>>) {
    let length = |at: usize| u32::from_be_bytes(*file[at..].first_chunk().expect("a box")) as usize;
    let mut at = 0;
    for name in [b"ftyp", b"moov"] {
        assert_eq!(&file[at + 4..at + 8], name);
        at += length(at);
    }
    assert_eq!(&file[at + 4..at + 8], b"mdat");
    let frames = video
        .frames
        .iter()
        .chain(audio.iter().flat_map(|a| &a.frames));
    let media_bytes: usize = frames.map(|frame| frame.len()).sum();
    assert_eq!(file.len(), at + 16 + media_bytes);
    assert_eq!(
        file[at + 8..at + 16],
        (16 + media_bytes as u64).to_be_bytes()
    );
}

/// The rest of the input; when it is used up, everything is zero and empty.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Any number, small ones from two bytes.
    fn size(&mut self) -> usize {
        let width = self.byte() % 9;
        (0..width).fold(0, |sum, _| sum << 8 | usize::from(self.byte()))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = self.size() % MOST;
        let (head, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn frames(&mut self) -> Vec<&'a [u8]> {
        let count = self.size() % MOST;
        (0..count).map(|_| self.bytes()).collect()
    }
}
