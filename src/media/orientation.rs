//! The orientation that metadata tells, and turning an image by it.
//!
//! EXIF has the say, XMP only where no EXIF orients the image: the rule of the reference's reader (`Image.getexif` of
//! Pillow), and of browsers, which read EXIF alone. Damaged metadata counts as missing: an image is not refused for it.

use super::image::Image;

/// Tag number of the orientation in the first directory.
const ORIENTATION: u16 = 0x0112;
/// Field types of a 16-bit and a 32-bit unsigned number; some programs write the second here.
const SHORT: u16 = 3;
const LONG: u16 = 4;

/// Orientation 1 to 8 by `blocks` of metadata of any kind; 1, upright, where none tells.
pub(super) fn orientation(blocks: &[impl AsRef<[u8]>]) -> u16 {
    let first = |find: fn(&[u8]) -> Option<u16>| {
        let mut found = blocks.iter().filter_map(|block| find(block.as_ref()));
        found.find(|value| (1..=8).contains(value))
    };
    first(of_exif).or_else(|| first(of_xmp)).unwrap_or(1)
}

/// The number behind the property's name in XMP: `tiff:Orientation="6"` or `<tiff:Orientation>6</tiff:Orientation>`.
fn of_xmp(xmp: &[u8]) -> Option<u16> {
    const NAME: &[u8] = b"tiff:Orientation";
    let ends = xmp.windows(NAME.len()).zip(NAME.len()..);
    ends.filter(|(name, _)| *name == NAME).find_map(|(_, end)| {
        let mut value = xmp[end..].trim_ascii_start();
        for mark in [&b"="[..], b"\"", b"'", b">"] {
            value = value.strip_prefix(mark).unwrap_or(value).trim_ascii_start();
        }
        let is_one_digit = !value.get(1)?.is_ascii_digit();
        let digit = char::from(value[0]).to_digit(10)?;
        is_one_digit.then_some(digit as u16)
    })
}

/// The tag in a TIFF block, with or without JPEG's prefix `Exif\0\0`.
fn of_exif(exif: &[u8]) -> Option<u16> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = [*tiff.get(at)?, *tiff.get(at.checked_add(1)?)?];
        Some(if is_little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    };
    let long = |at: usize| {
        let (first, second) = (usize::from(short(at)?), usize::from(short(at + 2)?));
        Some(if is_little {
            first | second << 16
        } else {
            first << 16 | second
        })
    };
    let directory = long(4)?;
    let entries = usize::from(short(directory)?);
    (0..entries)
        .map(|i| directory + 2 + 12 * i)
        .take_while(|&at| at + 12 <= tiff.len())
        .filter(|&at| short(at) == Some(ORIENTATION))
        .find_map(|at| match short(at + 2)? {
            SHORT => short(at + 8),
            LONG => u16::try_from(long(at + 8)?).ok(),
            _ => None,
        })
}

/// `image` turned upright from orientation 1 to 8.
pub(super) fn upright(image: Image, orientation: u16) -> Image {
    if orientation <= 1 {
        return image;
    }
    let (w, h) = (image.width, image.height);
    let swaps_axes = orientation >= 5;
    let (width, height) = if swaps_axes { (h, w) } else { (w, h) };
    let mut rgb = Vec::with_capacity(image.rgb.len());
    for y in 0..height {
        for x in 0..width {
            // Where the pixel that is displayed at (x, y) was stored.
            let (column, row) = match orientation {
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                _ => (w - 1 - y, x),
            };
            let at = 3 * (row * w + column);
            rgb.extend_from_slice(&image.rgb[at..at + 3]);
        }
    }
    Image {
        width,
        height,
        rgb,
        ..image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(is_little: bool, kind: u16, value: u32) -> Vec<u8> {
        let short = |v: u16| {
            if is_little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        let long = |v: u32| {
            if is_little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        let mut bytes = if is_little { b"II" } else { b"MM" }.to_vec();
        bytes.extend(short(42));
        bytes.extend(long(8));
        bytes.extend(short(1));
        bytes.extend(short(ORIENTATION));
        bytes.extend(short(kind));
        bytes.extend(long(1));
        if kind == LONG {
            bytes.extend(long(value));
        } else {
            bytes.extend(short(value as u16));
            bytes.extend(short(0));
        }
        bytes.extend(long(0));
        bytes
    }

    fn read(block: &[u8]) -> u16 {
        orientation(&[block])
    }

    #[test]
    fn xmp_tells_as_attribute_and_as_element() {
        for (xmp, expected) in [
            (r#"<rdf:Description tiff:Orientation="6"/>"#, 6),
            (
                r#"<rdf:Description tiff:Orientation = '8' tiff:Make="x">"#,
                8,
            ),
            ("<tiff:Orientation>3</tiff:Orientation>", 3),
            ("<tiff:Orientation>\n 5 </tiff:Orientation>", 5),
            ("<tiff:OrientationX>3</tiff:OrientationX>", 1),
            (
                "<tiff:Orientation></tiff:Orientation><b tiff:Orientation='2'/>",
                2,
            ),
            (r#"tiff:Orientation="0""#, 1),
            (r#"tiff:Orientation="9""#, 1),
            (r#"tiff:Orientation="66""#, 1),
            (r#"tiff:Orientation="#, 1),
            (r#"tiff:Orientation="6"#, 1),
            ("", 1),
        ] {
            assert_eq!(read(xmp.as_bytes()), expected, "{xmp}");
        }
    }

    #[test]
    fn exif_wins_over_xmp_wherever_it_stands() {
        let xmp = br#"tiff:Orientation="8""#.to_vec();
        let exif = |value| block(true, SHORT, value);
        assert_eq!(orientation(&[xmp.clone(), exif(6)]), 6);
        assert_eq!(orientation(&[exif(1), xmp.clone()]), 1);
        assert_eq!(orientation(&[exif(0), xmp.clone()]), 8);
        assert_eq!(orientation(&[exif(0), xmp, exif(3)]), 3);
        let none: [&[u8]; 0] = [];
        assert_eq!(orientation(&none), 1);
    }

    #[test]
    fn the_tag_is_found_in_both_byte_orders_and_sizes_and_never_past_the_end() {
        for (is_little, kind) in [(true, SHORT), (false, SHORT), (true, LONG), (false, LONG)] {
            let bytes = block(is_little, kind, 6);
            assert_eq!(read(&bytes), 6);
            let mut with_prefix = b"Exif\0\0".to_vec();
            with_prefix.extend(&bytes);
            assert_eq!(read(&with_prefix), 6);
            // The directory ends with a 4-byte link that is not needed.
            for cut in 0..bytes.len() - 4 {
                assert_eq!(read(&bytes[..cut]), 1, "cut at {cut}");
            }
            assert_eq!(read(&block(is_little, kind, 9)), 1);
            assert_eq!(
                read(&block(is_little, kind, 0x1_0006)),
                if kind == LONG { 1 } else { 6 }
            );
            // a signed byte
            assert_eq!(read(&block(is_little, 6, 6)), 1);
        }
        assert_eq!(read(b"II*\0\xff\xff\xff\xff"), 1);
    }

    #[test]
    fn every_orientation_of_a_2x3_picture() {
        // Stored: a b / c d / e f.
        let cases: [(u16, usize, &str); 8] = [
            (1, 2, "abcdef"),
            (2, 2, "badcfe"),
            (3, 2, "fedcba"),
            (4, 2, "efcdab"),
            (5, 3, "acebdf"),
            (6, 3, "ecafdb"),
            (7, 3, "fdbeca"),
            (8, 3, "bdface"),
        ];
        for (orientation, width, expected) in cases {
            let image = Image {
                name: String::new(),
                width: 2,
                height: 3,
                rgb: b"abcdef".iter().flat_map(|&v| [v; 3]).collect(),
                is_transparent: false,
            };
            let seen = upright(image, orientation);
            let letters: Vec<u8> = seen.rgb.chunks(3).map(|p| p[0]).collect();
            assert_eq!(
                (seen.width, letters.as_slice()),
                (width, expected.as_bytes()),
                "orientation {orientation}"
            );
        }
    }
}
