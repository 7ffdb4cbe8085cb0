//! What every way of writing a clip takes, and the description of its files.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    media::{
        clip::{Clip, EncodeOptions, EncodeReport, WrittenFile},
        output::AtomicFile,
    },
};

/// A checked clip whose audio has its final length.
pub(super) struct Job<'a> {
    pub(super) path: &'a Path,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pictures: &'a [u8],
    pub(super) frames: usize,
    pub(super) audio: &'a [f32],
    pub(super) options: &'a EncodeOptions,
}

impl<'a> Job<'a> {
    /// A clip that was checked.
    pub(super) fn new(
        path: &'a Path,
        clip: &Clip<'a>,
        audio: &'a [f32],
        options: &'a EncodeOptions,
    ) -> Self {
        Self {
            path,
            width: clip.width,
            height: clip.height,
            pictures: clip.frames,
            frames: clip.frames.len() / (3 * clip.width * clip.height),
            audio,
            options,
        }
    }
}

impl Job<'_> {
    pub(super) fn samples(&self) -> usize {
        self.audio.len() / 2
    }

    pub(super) fn frame_bytes(&self) -> usize {
        3 * self.width * self.height
    }

    pub(super) fn report(&self, encoder: String, files: Vec<WrittenFile>) -> EncodeReport {
        EncodeReport {
            encoder,
            files,
            frames: self.frames,
            samples: self.samples(),
        }
    }
}

/// Length and hash of what was written to `output`.
pub(super) fn describe(output: &AtomicFile) -> Result<WrittenFile> {
    let unread = |e: io::Error| Error::output_io(output.path(), e);
    let mut file = File::open(output.part_path()).map_err(unread)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer).map_err(unread)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        bytes += n as u64;
    }
    Ok(WrittenFile {
        path: output.path().into(),
        bytes,
        sha256: hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    })
}
