//! The directory of a zip with uncompressed members.

use std::{collections::BTreeMap, ops::Range};

const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
const END_BYTES: usize = 22;
const LOCATOR_SIGNATURE: [u8; 4] = *b"PK\x06\x07";
const LOCATOR_BYTES: usize = 20;
const END64_SIGNATURE: [u8; 4] = *b"PK\x06\x06";
const CENTRAL_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";

/// In a 32-bit field: the value is in the zip64 extra field.
const IN_EXTRA: u64 = 0xffff_ffff;

/// Where the members of a zip are.
#[derive(Debug)]
pub(super) struct Zip<'a> {
    members: BTreeMap<&'a str, Range<usize>>,
}

type Result<T> = std::result::Result<T, String>;

impl<'a> Zip<'a> {
    /// Reads the directory of the zip `bytes`; an error is a sentence about the file.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (mut at, directory_end, count) = directory(bytes)?;
        let mut members = BTreeMap::new();
        for _ in 0..count {
            let (name, range, next) = member(bytes, at)?;
            if members.insert(name, range).is_some() {
                return Err(format!("has the zip member `{name}` twice"));
            }
            at = next;
        }
        if at != directory_end {
            return Err(damaged());
        }
        let mut ranges: Vec<&Range<usize>> = members.values().filter(|r| !r.is_empty()).collect();
        ranges.sort_by_key(|range| range.start);
        if ranges.array_windows().any(|[a, b]| a.end > b.start) {
            return Err("has zip members that overlap".into());
        }
        Ok(Self { members })
    }

    /// Bytes of a member.
    pub(super) fn member(&self, name: &str) -> Option<&Range<usize>> {
        self.members.get(name)
    }

    /// The members' names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.keys().copied()
    }
}

/// Start, end and number of members of the directory.
fn directory(bytes: &[u8]) -> Result<(usize, usize, usize)> {
    const NOT_ZIP: &str =
        "is not a torch zip file, or is cut off; files of torch before 1.6 must be saved again";
    // The end record is followed by a comment of at most 65535 bytes.
    let last = bytes.len().checked_sub(END_BYTES).ok_or(NOT_ZIP)?;
    let end = (last.saturating_sub(0xffff)..=last)
        .rev()
        .find(|&at| {
            has(bytes, at, END_SIGNATURE)
                && field(bytes, at + 20, 2).ok() == Some((last - at) as u64)
        })
        .ok_or(NOT_ZIP)?;
    let locator = end
        .checked_sub(LOCATOR_BYTES)
        .filter(|&at| has(bytes, at, LOCATOR_SIGNATURE));
    let (start, length, count) = match locator {
        Some(at) => {
            let end64 = to_usize(field(bytes, at + 8, 8)?)?;
            if !has(bytes, end64, END64_SIGNATURE) {
                return Err(damaged());
            }
            let at = |offset| field(bytes, end64.saturating_add(offset), 8);
            (at(48)?, at(40)?, at(32)?)
        }
        None => (
            field(bytes, end + 16, 4)?,
            field(bytes, end + 12, 4)?,
            field(bytes, end + 10, 2)?,
        ),
    };
    let start = to_usize(start)?;
    let stop = start
        .checked_add(to_usize(length)?)
        .filter(|&stop| stop <= end);
    Ok((start, stop.ok_or_else(damaged)?, to_usize(count)?))
}

/// Name and bytes of the member with the directory entry at `at`, and the position of the next entry.
fn member(bytes: &[u8], at: usize) -> Result<(&str, Range<usize>, usize)> {
    if !has(bytes, at, CENTRAL_SIGNATURE) {
        return Err(damaged());
    }
    let short = |offset| field(bytes, at + offset, 2).and_then(to_usize);
    let (name_bytes, extra_bytes, comment_bytes) = (short(28)?, short(30)?, short(32)?);
    let name_at = at + 46;
    let name = slice(bytes, name_at, name_bytes)?;
    let name = std::str::from_utf8(name).map_err(|_| damaged())?;
    let extra = slice(bytes, name_at + name_bytes, extra_bytes)?;
    let (flags, method) = (short(8)?, short(10)?);
    if flags & 1 != 0 {
        return Err(format!("has an encrypted zip member, `{name}`"));
    }
    let mut wide = zip64_values(extra)?;
    let mut value = |offset| match field(bytes, at + offset, 4)? {
        IN_EXTRA => wide.next().ok_or_else(damaged),
        value => Ok(value),
    };
    // Their order in the extra field is the same.
    let (unpacked, packed, local) = (value(24)?, value(20)?, value(42)?);
    if method != 0 || packed != unpacked {
        return Err(format!(
            "has a compressed zip member, `{name}`; torch files are stored uncompressed, and unpacking one \
             that is not could fill the memory"
        ));
    }
    let local = to_usize(local)?;
    if !has(bytes, local, LOCAL_SIGNATURE) {
        return Err(damaged());
    }
    let names = to_usize(field(bytes, local + 26, 2)? + field(bytes, local + 28, 2)?)?;
    let start = local + 30 + names;
    let length = to_usize(packed)?;
    slice(bytes, start, length)?;
    let next = name_at + name_bytes + extra_bytes + comment_bytes;
    Ok((name, start..start + length, next))
}

/// The 8-byte values of the zip64 extra field.
fn zip64_values(mut extra: &[u8]) -> Result<impl Iterator<Item = u64>> {
    const ZIP64: u64 = 1;
    let mut values = Vec::new();
    while extra.len() >= 4 {
        let (id, length) = (field(extra, 0, 2)?, to_usize(field(extra, 2, 2)?)?);
        let body = slice(extra, 4, length)?;
        if id == ZIP64 {
            values.extend(body.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)));
        }
        extra = &extra[4 + length..];
    }
    Ok(values.into_iter())
}

fn has(bytes: &[u8], at: usize, signature: [u8; 4]) -> bool {
    slice(bytes, at, 4).is_ok_and(|found| found == signature)
}

/// A little-endian number of `width` bytes.
fn field(bytes: &[u8], at: usize, width: usize) -> Result<u64> {
    let mut number = [0; 8];
    number[..width].copy_from_slice(slice(bytes, at, width)?);
    Ok(u64::from_le_bytes(number))
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    let end = at.checked_add(length).ok_or_else(damaged)?;
    bytes.get(at..end).ok_or_else(damaged)
}

fn to_usize(value: u64) -> Result<usize> {
    usize::try_from(value).map_err(|_| damaged())
}

fn damaged() -> String {
    "has a damaged zip directory; download it again".into()
}
