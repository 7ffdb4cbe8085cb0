//! A sound file as its demuxer gets it: read where it lies, without tags in front, a WAV under a header whose lengths
//! are true.
//!
//! Programs that write a WAV into a pipe cannot know its length, and others are wrong by a header. So the length of its
//! samples is taken from the file where the header's cannot be meant. RF64 is WAV with 64-bit lengths.

use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::edit_list::{Edit, movie_edit};

/// Bytes of the header, and of the optional footer, of an ID3v2 block.
const ID3_HEADER_BYTES: u64 = 10;
/// Most chunks or boxes that are looked at, and most bytes of one that are read.
const PARTS_MAX: usize = 1000;
const FORMAT_BYTES_MAX: u64 = 4096;
const MOVIE_BYTES_MAX: u64 = 64 << 20;
const CAF_HEADER_BYTES_MAX: u64 = 1 << 20;
/// Lengths from here on are those of a program that does not know: 0x7fffffff and 0xffffffff, less a header.
const UNKNOWN_LENGTH: u64 = 0x7fff_0000;
/// A length that is too long by this, or by a hundredth, is an error of the writer; by more, the file was cut.
const SLIP_BYTES: u64 = 128;

/// Where sound comes from: a file, or bytes.
pub(super) type Source<'a> = Box<dyn MediaSource + 'a>;

/// A sound file.
pub(super) struct SoundFile<'a> {
    /// What the demuxer reads.
    pub(super) stream: Section<'a>,
    /// Its first bytes.
    pub(super) head: Vec<u8>,
    /// Samples per channel that a WAV should have.
    pub(super) samples: Option<u64>,
    /// Which part of it an MP4 plays.
    pub(super) edit: Option<Edit>,
}

impl<'a> SoundFile<'a> {
    pub(super) fn open(mut source: Source<'a>) -> Result<Self> {
        let end = source.seek(SeekFrom::End(0))?;
        let start = behind_id3(&mut source)?;
        let head = bytes_at(&mut source, start, 512)?;
        let is_wave = matches!(head.get(..4), Some(b"RIFF" | b"RF64" | b"BW64"))
            && head.get(8..12) == Some(b"WAVE");
        if is_wave && let Some(wave) = Wave::find(&mut source, start, end)? {
            return Ok(Self {
                stream: Section::new(source, wave.header(), (wave.start, wave.bytes)),
                head,
                samples: Some(wave.samples),
                edit: None,
            });
        }
        let header = endless_caf(&mut source, start, end)?;
        let behind = start + header.len() as u64;
        let movie = movie(&mut source, start, end)?;
        Ok(Self {
            stream: Section::new(source, header, (behind, end.saturating_sub(behind))),
            head,
            samples: None,
            edit: movie.as_deref().and_then(movie_edit),
        })
    }
}

/// At most `count` bytes at `at`; fewer where the source ends.
fn bytes_at(source: &mut Source<'_>, at: u64, count: u64) -> Result<Vec<u8>> {
    source.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    source.take(count).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the file behind its ID3v2 tags begins; a tag may hold an image longer than the prober searches.
fn behind_id3(source: &mut Source<'_>) -> Result<u64> {
    let mut at = 0;
    for _ in 0..PARTS_MAX {
        let header = bytes_at(source, at, ID3_HEADER_BYTES)?;
        let [b'I', b'D', b'3', _, _, flags, size @ ..] = &header[..] else {
            break;
        };
        let size = size
            .iter()
            .fold(0, |sum, &byte| sum << 7 | u64::from(byte & 0x7f));
        at += ID3_HEADER_BYTES + size;
        if flags & 0x10 != 0 {
            at += ID3_HEADER_BYTES;
        }
    }
    Ok(at)
}

/// The header of a CAF whose samples have no length, which a program that writes into a pipe cannot know: with the length
/// that is there. Empty for other files.
fn endless_caf(source: &mut Source<'_>, start: u64, end: u64) -> Result<Vec<u8>> {
    const CHUNK_HEADER_BYTES: u64 = 12;
    let is_caf = bytes_at(source, start, 4)? == b"caff";
    let mut at = start + 8;
    for _ in 0..if is_caf { PARTS_MAX } else { 0 } {
        let header = bytes_at(source, at, CHUNK_HEADER_BYTES)?;
        let Some((name, Ok(length))) = header.split_first_chunk::<4>().map(|(name, length)| {
            let length: std::result::Result<[u8; 8], _> = length.try_into();
            (name, length.map(i64::from_be_bytes))
        }) else {
            break;
        };
        at += CHUNK_HEADER_BYTES;
        if name == b"data" && length == -1 && at - start <= CAF_HEADER_BYTES_MAX {
            let mut header = bytes_at(source, start, at - start - 8)?;
            // A file that is still written may have grown beyond `end`.
            header.extend(end.saturating_sub(at).to_be_bytes());
            return Ok(header);
        }
        match u64::try_from(length) {
            Ok(length) if length <= end.saturating_sub(at) => at += length,
            _ => break,
        }
    }
    Ok(Vec::new())
}

/// The content of an MP4's `moov` box.
fn movie(source: &mut Source<'_>, start: u64, end: u64) -> Result<Option<Vec<u8>>> {
    let mut at = start;
    for _ in 0..PARTS_MAX {
        let header = bytes_at(source, at, 16)?;
        let Some((&[a, b, c, d, ref name @ ..], wide)) = header.split_first_chunk::<8>() else {
            break;
        };
        let (skip, length) = match (u32::from_be_bytes([a, b, c, d]), wide.try_into()) {
            (0, _) => (8, end.saturating_sub(at)),
            (1, Ok(wide)) => (16, u64::from_be_bytes(wide)),
            (length, _) => (8, length.into()),
        };
        if length < skip || length > end.saturating_sub(at) {
            break;
        }
        if name == b"moov" {
            let bytes = (length - skip).min(MOVIE_BYTES_MAX);
            return bytes_at(source, at + skip, bytes).map(Some);
        }
        at += length;
    }
    Ok(None)
}

/// The two chunks of a WAV that matter.
struct Wave {
    format: Vec<u8>,
    /// Where the samples begin.
    start: u64,
    /// Bytes of samples that are there.
    bytes: u64,
    /// Samples per channel that should be there.
    samples: u64,
}

impl Wave {
    fn find(source: &mut Source<'_>, start: u64, end: u64) -> Result<Option<Self>> {
        let mut at = start + 12;
        let (mut format, mut long) = (None, None);
        for _ in 0..PARTS_MAX {
            let Some((name, length)) = chunk(source, at)? else {
                break;
            };
            let content = at + 8;
            match (&name, format.take()) {
                (b"data", Some(format)) => {
                    let claimed = long
                        .filter(|_| length == u64::from(u32::MAX))
                        .unwrap_or(length);
                    let there = end.saturating_sub(content);
                    return Self::new(source, format, (content, there), claimed).map(Some);
                }
                (b"fmt ", _) => {
                    format = Some(bytes_at(source, content, length.min(FORMAT_BYTES_MAX))?);
                }
                (b"ds64", kept) => {
                    let bytes = bytes_at(source, content + 8, 8)?;
                    long = bytes.try_into().ok().map(u64::from_le_bytes);
                    format = kept;
                }
                (_, kept) => format = kept,
            }
            at = content + length;
            // Some writers leave out the byte that makes a length even.
            if length % 2 == 1 && !is_chunk(source, at, end)? {
                at += 1;
            }
        }
        Ok(None)
    }

    fn new(
        source: &mut Source<'_>,
        format: Vec<u8>,
        (start, there): (u64, u64),
        claimed: u64,
    ) -> Result<Self> {
        // The field "block align": the bytes of one sample of all channels.
        let block = format
            .get(12..14)
            .map_or(1, |two| u64::from(u16::from_le_bytes([two[0], two[1]])))
            .max(1);
        let bytes = sample_bytes(source, (start, there), claimed, block)?;
        Ok(Self {
            format,
            start,
            bytes: bytes.min(there) / block * block,
            samples: bytes / block,
        })
    }

    /// A header with these lengths and nothing else, to be followed by the samples.
    fn header(&self) -> Vec<u8> {
        let unknown = u32::MAX.to_le_bytes();
        let mut header = [&b"RIFF"[..], &unknown, b"WAVEfmt "].concat();
        header.extend((self.format.len() as u32).to_le_bytes());
        header.extend(&self.format);
        header.extend(vec![0; self.format.len() % 2]);
        header.extend(b"data");
        header.extend(u32::try_from(self.bytes).map_or(unknown, u32::to_le_bytes));
        header
    }
}

/// Name and length of the chunk at `at`.
fn chunk(source: &mut Source<'_>, at: u64) -> Result<Option<([u8; 4], u64)>> {
    let header = bytes_at(source, at, 8)?;
    Ok(match header[..] {
        [a, b, c, d, ref length @ ..] if length.len() == 4 => {
            let length = length
                .iter()
                .rev()
                .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            Some(([a, b, c, d], length))
        }
        _ => None,
    })
}

/// Whether a chunk, or a tag, is at `at` of a file of `end` bytes.
fn is_chunk(source: &mut Source<'_>, at: u64, end: u64) -> Result<bool> {
    Ok(chunk(source, at)?.is_some_and(|(name, length)| {
        let is_tag = name.starts_with(b"TAG") || name.starts_with(b"ID3");
        let is_name = name.iter().all(|byte| (b' '..=b'~').contains(byte));
        // A file that is still written may have grown beyond `end`.
        is_tag || is_name && length <= end.saturating_sub(at)
    }))
}

/// Bytes of samples, each of `block`, where the header claims `claimed` and the file has `there`.
fn sample_bytes(
    source: &mut Source<'_>,
    (start, there): (u64, u64),
    claimed: u64,
    block: u64,
) -> Result<u64> {
    if claimed >= there {
        let is_slip = claimed - there <= SLIP_BYTES.max(claimed / 100);
        let is_cut = !is_slip && claimed < UNKNOWN_LENGTH;
        return Ok(if is_cut { claimed } else { there });
    }
    // Something follows: other chunks, or samples that the header does not count.
    for end in [claimed, claimed + claimed % 2] {
        let is_last = end == there && claimed.is_multiple_of(block);
        if is_last || is_chunk(source, start + end, start + there)? {
            return Ok(claimed);
        }
    }
    Ok(there)
}

/// A part of a source behind bytes of our own.
pub(super) struct Section<'a> {
    source: Source<'a>,
    header: Vec<u8>,
    start: u64,
    bytes: u64,
    at: u64,
}

impl<'a> Section<'a> {
    fn new(source: Source<'a>, header: Vec<u8>, (start, bytes): (u64, u64)) -> Self {
        Self {
            source,
            header,
            start,
            bytes,
            at: 0,
        }
    }

    fn length(&self) -> u64 {
        self.header.len() as u64 + self.bytes
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let header = self.header.len() as u64;
        let left = self.length().saturating_sub(self.at);
        // A table may name any place.
        let count = if left == 0 {
            0
        } else if self.at < header {
            (&self.header[self.at as usize..]).read(buffer)?
        } else {
            let from = self.start + (self.at - header);
            self.source.seek(SeekFrom::Start(from))?;
            (&mut self.source).take(left).read(buffer)?
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or_else(|| Error::from(ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl MediaSource for Section<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length())
    }
}
