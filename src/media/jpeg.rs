//! The segments of a JPEG file, as a strict decoder wants them.
//!
//! Cameras and editors leave bytes between the segments, drop the end marker, or write application segments that are
//! none; libjpeg and browsers read such files. A strict decoder refuses them, and a lenient one fills up what a file
//! that was cut lacks. So the picture's own segments are copied without the rest, and decoded strictly. Whether
//! segments say that three components are RGB is decided here, as libjpeg does, and told in one way.

/// A kind that few programs read.
pub(super) const ARITHMETIC: &str = "a JPEG with arithmetic coding";

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const EXTENSION: u8 = 0xe0;
/// Segment of three components that are RGB.
const IS_RGB: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0";

/// The first picture of a JPEG file.
pub(super) struct Jpeg<'a> {
    /// Its segments and samples, with nothing between them.
    pub(super) picture: Vec<u8>,
    /// What its APP1 segments hold: EXIF, XMP.
    pub(super) metadata: Vec<&'a [u8]>,
    /// Whether the file has the marker that ends it.
    pub(super) has_end: bool,
    /// The marker of its frame, and what that holds: bits of a sample, height, width, components.
    frame: (u8, &'a [u8]),
    has_restarts: bool,
    has_jfif: bool,
    /// Whether the last Adobe segment says that the components are as they were, without a change of colours.
    adobe_rgb: bool,
    scans: usize,
    /// Components of the last scan.
    scanned: u8,
}

impl<'a> Jpeg<'a> {
    /// The segments of a file that begins with a JPEG's first marker.
    ///
    /// # Errors
    /// What is wrong with it, to follow the file's name.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut jpeg = Self {
            picture: Vec::with_capacity(bytes.len()),
            metadata: Vec::new(),
            has_end: false,
            frame: (0, &[]),
            has_restarts: false,
            has_jfif: false,
            adobe_rgb: false,
            scans: 0,
            scanned: 0,
        };
        jpeg.picture.extend([0xff, START]);
        let mut at = 2;
        while let Some((marker, _, behind)) = find_marker(bytes, at) {
            at = behind;
            if marker == END {
                jpeg.picture.extend([0xff, END]);
                jpeg.has_end = true;
                return Ok(jpeg);
            }
            let Some(content) = segment(&bytes[at..]) else {
                break;
            };
            at += 2 + content.len();
            jpeg.keep(marker, content);
            if marker == SCAN {
                let end = find_marker(bytes, at);
                let end = end.map_or(bytes.len(), |(_, start, _)| start);
                jpeg.picture.extend(&bytes[at..end]);
                at = end;
            }
        }
        jpeg.end_what_is_whole()?;
        Ok(jpeg)
    }

    /// Takes over a segment if the picture needs it.
    fn keep(&mut self, marker: u8, content: &'a [u8]) {
        match marker {
            0xc4 | 0xc8 | 0xcc | 0xdb => {}
            0xc0..=0xcf => self.frame = (marker, content),
            0xdd => self.has_restarts |= content != [0, 0],
            SCAN => {
                let is_rgb = self.adobe_rgb && !self.has_jfif;
                if self.scans == 0 && is_rgb && self.frame.1.get(5) == Some(&3) {
                    self.picture.extend(IS_RGB);
                }
                self.scans += 1;
                self.scanned = content.first().copied().unwrap_or(0);
            }
            // "AVI1" tells that standard tables belong to the picture.
            EXTENSION => self.has_jfif |= content.starts_with(b"JFIF\0") && content.len() >= 14,
            0xe1 => return self.metadata.push(content),
            0xee if content.starts_with(b"Adobe") => {
                return self.adobe_rgb = content.get(11).map_or(self.adobe_rgb, |&by| by == 0);
            }
            _ => return,
        }
        self.picture.extend([0xff, marker]);
        self.picture
            .extend((content.len() as u16 + 2).to_be_bytes());
        self.picture.extend(content);
    }

    /// Gives a picture whose file ends without a marker one, so that a strict decoder refuses it unless all samples are
    /// there: a code of ones alone means nothing, so it cannot be taken for them. Zeros could, and are what a download
    /// that was interrupted ends with.
    fn end_what_is_whole(&mut self) -> Result<(), String> {
        let is_one_scan = self.scans == 1 && Some(&self.scanned) == self.frame.1.get(5);
        let is_progressive = self.frame.0 == 0xc2;
        if is_progressive || !is_one_scan || self.has_restarts {
            return Err("no end marker".into());
        }
        let zeros = self.picture.iter().rev().take_while(|byte| **byte == 0);
        self.picture.truncate(self.picture.len() - zeros.count());
        self.picture.extend([0xff, 0].repeat(32));
        self.picture.extend([0xff, END]);
        Ok(())
    }

    /// Why no decoder of common JPEGs can read it.
    pub(super) fn rare_kind(&self) -> Option<&'static str> {
        match (self.frame.0, self.frame.1) {
            (0xc3 | 0xc7 | 0xcb | 0xcf, _) => Some("a lossless JPEG"),
            (0xc5 | 0xc6 | 0xcd | 0xce, _) => Some("a hierarchical JPEG"),
            (0xc9 | 0xca, _) => Some(ARITHMETIC),
            (_, [bits, ..]) if *bits != 8 => Some("a JPEG of more than 8 bits"),
            (_, [_, _, _, _, _, 4, ..]) => Some("a CMYK picture"),
            _ => None,
        }
    }
}

/// The first marker from `at` that has a segment or ends the picture: its number, where it begins, and where what follows
/// it begins. Others have no content, or are none: 0 is a byte of samples.
fn find_marker(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let mut from = at;
    loop {
        let start = from + bytes.get(from..)?.iter().position(|byte| *byte == 0xff)?;
        let filled = bytes[start..].iter().position(|byte| *byte != 0xff)?;
        from = start + filled + 1;
        let marker = bytes[from - 1];
        if matches!(marker, 0xc0..=0xcf | END..=0xfe) {
            return Some((marker, start, from));
        }
    }
}

/// What a segment holds, from its length on.
fn segment(bytes: &[u8]) -> Option<&[u8]> {
    let (length, _) = bytes.split_first_chunk::<2>()?;
    bytes.get(2..usize::from(u16::from_be_bytes(*length)))
}
