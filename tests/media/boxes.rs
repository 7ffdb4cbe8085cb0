//! A reader of MP4 boxes that shares nothing with the writer.

use std::ops::Range;

/// A box: its name and where its content lies in the file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) content: Range<usize>,
}

pub(crate) fn be32(file: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(file[at..at + 4].try_into().unwrap())
}

/// The boxes in `range`; panics where they do not fill it exactly.
pub(crate) fn list(file: &[u8], range: Range<usize>) -> Vec<Found> {
    let mut at = range.start;
    let mut boxes = Vec::new();
    while at < range.end {
        let name = String::from_utf8(file[at + 4..at + 8].to_vec()).unwrap();
        let (header, length) = match be32(file, at) {
            1 => {
                let wide = u64::from_be_bytes(file[at + 8..at + 16].try_into().unwrap());
                (16, wide as usize)
            }
            length => (8, length as usize),
        };
        assert!(length >= header && at + length <= range.end, "box {name}");
        boxes.push(Found {
            name,
            content: at + header..at + length,
        });
        at += length;
    }
    boxes
}

/// The only box at `path` under `range`, such as `mdia/minf/stbl/stsd`.
pub(crate) fn find(file: &[u8], range: Range<usize>, path: &str) -> Range<usize> {
    path.split('/').fold(range, |range, name| {
        let mut hits = list(file, range).into_iter().filter(|b| b.name == name);
        let hit = hits.next().unwrap_or_else(|| panic!("no {name} of {path}"));
        assert!(hits.next().is_none(), "two of {name}");
        hit.content
    })
}

/// The numbers of a full box after version and flags.
pub(crate) fn words(file: &[u8], content: &Range<usize>) -> Vec<u32> {
    file[content.start + 4..content.end]
        .chunks_exact(4)
        .map(|w| u32::from_be_bytes(w.try_into().unwrap()))
        .collect()
}

/// One track, as a player sees it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) handler: String,
    pub(crate) timescale: u32,
    /// Duration and media time of the only edit.
    pub(crate) edit: (u32, u32),
    /// Duration of all samples by `stts`.
    pub(crate) duration: u32,
    pub(crate) samples: Vec<Vec<u8>>,
    /// File offsets of the chunks.
    pub(crate) chunks: Vec<u32>,
    /// Numbers of the key frames, from 1.
    pub(crate) keys: Vec<u32>,
    /// Content of the sample entry, behind its own name.
    pub(crate) entry: Vec<u8>,
    pub(crate) entry_name: String,
    pub(crate) table: Vec<String>,
}

pub(crate) fn tracks(file: &[u8]) -> Vec<Track> {
    let movie = find(file, 0..file.len(), "moov");
    list(file, movie)
        .into_iter()
        .filter(|b| b.name == "trak")
        .map(|b| track(file, b.content))
        .collect()
}

fn track(file: &[u8], trak: Range<usize>) -> Track {
    let handler = find(file, trak.clone(), "mdia/hdlr");
    let edits = words(file, &find(file, trak.clone(), "edts/elst"));
    assert_eq!((edits[0], edits[3]), (1, 0x1_0000), "one edit at rate 1");
    let stbl = find(file, trak.clone(), "mdia/minf/stbl");
    let times = words(file, &find(file, stbl.clone(), "stts"));
    let duration = times[1..].chunks(2).map(|run| run[0] * run[1]).sum();
    let header = words(file, &find(file, trak.clone(), "mdia/mdhd"));
    assert_eq!(header[3], duration, "mdhd against stts");
    let entry = find(file, stbl.clone(), "stsd");
    let entry = list(file, entry.start + 8..entry.end).remove(0);
    let table: Vec<String> = list(file, stbl.clone())
        .into_iter()
        .map(|b| b.name)
        .collect();
    let keys = if table.iter().any(|name| name == "stss") {
        words(file, &find(file, stbl.clone(), "stss"))[1..].to_vec()
    } else {
        Vec::new()
    };
    let chunks = words(file, &find(file, stbl.clone(), "stco"))[1..].to_vec();
    Track {
        handler: String::from_utf8(file[handler.start + 8..handler.start + 12].to_vec()).unwrap(),
        timescale: header[2],
        edit: (edits[1], edits[2]),
        duration,
        samples: samples(file, &stbl, &chunks),
        chunks,
        keys,
        entry: file[entry.content].to_vec(),
        entry_name: entry.name,
        table,
    }
}

fn samples(file: &[u8], stbl: &Range<usize>, chunks: &[u32]) -> Vec<Vec<u8>> {
    let sizes = words(file, &find(file, stbl.clone(), "stsz"));
    let mut sizes = sizes[2..].iter();
    let runs = words(file, &find(file, stbl.clone(), "stsc"));
    let runs: Vec<&[u32]> = runs[1..].chunks(3).collect();
    let mut samples = Vec::new();
    for (number, &offset) in (1_u32..).zip(chunks) {
        let run = runs.iter().rev().find(|run| run[0] <= number).unwrap();
        let mut at = offset as usize;
        for _ in 0..run[1] {
            let size = *sizes.next().unwrap() as usize;
            samples.push(file[at..at + size].to_vec());
            at += size;
        }
    }
    assert!(sizes.next().is_none(), "samples outside the chunks");
    samples
}
