//! Which part of an MP4's audio is played: its edit list.
//!
//! Our demuxer ignores edit lists. For AAC they matter: the first one or two thousand samples only prime the decoder,
//! and the last ones fill a frame.

/// The first edit of the first audio track that plays something, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Edit {
    /// Where in the track it starts.
    pub(super) start_seconds: f64,
    /// Its length; `None`: to the end.
    pub(super) length_seconds: Option<f64>,
}

/// The edit of an MP4, from the content of its `moov` box; `None` without an edit list. Damaged boxes count as missing.
pub(super) fn movie_edit(movie: &[u8]) -> Option<Edit> {
    let movie_scale = timescale(child(movie, b"mvhd")?)?;
    let track = children(movie)
        .filter(|(name, _)| name == b"trak")
        .map(|(_, content)| content)
        .find(|track| is_sound(track).unwrap_or(false))?;
    let track_scale = timescale(child(child(track, b"mdia")?, b"mdhd")?)?;
    let (length, start) = first_edit(child(child(track, b"edts")?, b"elst")?)?;
    Some(Edit {
        start_seconds: start as f64 / track_scale,
        length_seconds: (length > 0).then(|| length as f64 / movie_scale),
    })
}

fn is_sound(track: &[u8]) -> Option<bool> {
    let handler = child(child(track, b"mdia")?, b"hdlr")?;
    Some(handler.get(8..12)? == b"soun")
}

/// Units per second of an `mvhd` or `mdhd` box, which begin alike.
fn timescale(header: &[u8]) -> Option<f64> {
    // version 1 has 64-bit times before it
    let at = if *header.first()? == 1 { 20 } else { 12 };
    let scale = be_u32(header, at)?;
    (scale > 0).then_some(f64::from(scale))
}

/// Length and start of the first entry that is not a pause, in their box's units.
fn first_edit(list: &[u8]) -> Option<(u64, u64)> {
    let is_long = *list.first()? == 1;
    let entry_bytes = if is_long { 20 } else { 12 };
    let entries = list.get(8..)?.chunks_exact(entry_bytes);
    entries
        .take(be_u32(list, 4)? as usize)
        .filter_map(|entry| {
            if is_long {
                Some((
                    be_u64(entry, 0)?,
                    i64::from_be_bytes(be_u64(entry, 8)?.to_be_bytes()),
                ))
            } else {
                let start = be_u32(entry, 4)?.cast_signed();
                Some((u64::from(be_u32(entry, 0)?), i64::from(start)))
            }
        })
        .find_map(|(length, start)| Some((length, u64::try_from(start).ok()?)))
}

fn child<'a>(content: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    children(content)
        .find(|(found, _)| found == name)
        .map(|(_, content)| content)
}

/// The boxes in `content`, up to the first one that does not fit.
fn children(content: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = content;
    std::iter::from_fn(move || {
        let name: [u8; 4] = rest.get(4..8)?.try_into().ok()?;
        let (header, length) = match be_u32(rest, 0)? {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(be_u64(rest, 8)?).ok()?),
            length => (8, length as usize),
        };
        let content = rest.get(header..length)?;
        rest = &rest[length..];
        Some((name, content))
    })
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
