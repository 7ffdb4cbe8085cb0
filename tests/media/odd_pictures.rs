//! Pictures as other programs write them: metadata in every place, headers with stray bytes, unusual pixels.

use std::{fs, path::Path};

use gallop::media::decode_image;

use crate::pictures::{chunk, exif, jpeg, webp};

/// What two programs write as XMP: an attribute or an element.
fn xmp(orientation: u8, is_attribute: bool) -> String {
    let value = match is_attribute {
        true => format!(r#" tiff:Orientation="{orientation}"/>"#),
        false => format!("><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"),
    };
    format!(
        r#"<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{value}</rdf:RDF></x:xmpmeta>"#
    )
}

/// As ImageMagick writes a profile into a PNG: name, length, digits in lines of 72.
fn raw_profile(kind: &str, bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes
        .chunks(36)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    format!("\n{kind}\n{:8}\n{}\n", bytes.len(), digits.join("\n"))
}

/// A PNG of 3 x 2 pixels with metadata before or behind them.
fn png_with(is_behind: bool, add: impl Fn(&mut png::Writer<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    if !is_behind {
        add(&mut writer);
    }
    writer.write_image_data(&[7; 18]).unwrap();
    if is_behind {
        add(&mut writer);
    }
    writer.finish().unwrap();
    bytes
}

/// A JPEG with these APP1 segments.
fn jpeg_with(segments: &[&[u8]]) -> Vec<u8> {
    let plain = jpeg(24, 10, 3, None);
    let mut bytes = plain[..2].to_vec();
    for content in segments {
        bytes.extend([0xff, 0xe1]);
        bytes.extend((content.len() as u16 + 2).to_be_bytes());
        bytes.extend(*content);
    }
    bytes.extend(&plain[2..]);
    bytes
}

fn jpeg_xmp(orientation: u8) -> Vec<u8> {
    let text = xmp(orientation, true);
    [b"http://ns.adobe.com/xap/1.0/\0", text.as_bytes()].concat()
}

/// An extended WebP of 3 x 2 pixels with these chunks behind them.
fn webp_with(flags: u8, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let still = webp(3, &[9; 18]);
    let mut content = b"WEBP".to_vec();
    content.extend(chunk(b"VP8X", &[flags, 0, 0, 0, 2, 0, 0, 1, 0, 0]));
    content.extend(&still[12..]);
    for (name, bytes) in chunks {
        content.extend(chunk(name, bytes));
    }
    let length = (content.len() as u32).to_le_bytes();
    [b"RIFF", &length[..], &content].concat()
}

/// Whether a picture that is stored wide is shown upright.
#[track_caller]
fn is_turned(bytes: &[u8]) -> bool {
    let image = decode_image(bytes, "turned").unwrap();
    image.width < image.height
}

#[test]
fn xmp_turns_pictures_of_every_format() {
    for (is_attribute, turn) in [(true, 6), (true, 1), (false, 8), (false, 3)] {
        let text = xmp(turn, is_attribute);
        let expected = turn >= 5;
        let app1 = [b"http://ns.adobe.com/xap/1.0/\0", text.as_bytes()].concat();
        assert_eq!(is_turned(&jpeg_with(&[&app1])), expected);
        let webp = webp_with(4, &[(b"XMP ", text.as_bytes())]);
        assert_eq!(is_turned(&webp), expected);
        for (is_compressed, is_behind) in [(false, false), (true, false), (false, true)] {
            let mut chunk = png::text_metadata::ITXtChunk::new("XML:com.adobe.xmp", &text);
            chunk.compressed = is_compressed;
            let png = png_with(is_behind, |writer| writer.write_text_chunk(&chunk).unwrap());
            assert_eq!(is_turned(&png), expected);
        }
    }
}

#[test]
fn exif_turns_pngs_wherever_it_stands() {
    use png::text_metadata::{TEXtChunk, ZTXtChunk};
    for turn in [1, 3, 6, 8] {
        let (expected, tiff) = (turn >= 5, &exif(turn)[6..]);
        for is_behind in [false, true] {
            let png = png_with(is_behind, |writer| {
                writer
                    .write_chunk(png::chunk::ChunkType(*b"eXIf"), tiff)
                    .unwrap();
            });
            assert_eq!(is_turned(&png), expected);
            for (kind, bytes) in [
                ("exif", exif(turn)),
                ("exif", tiff.to_vec()),
                ("APP1", exif(turn)),
                ("APP1", jpeg_xmp(turn)),
                ("xmp", xmp(turn, false).into_bytes()),
            ] {
                let name = format!("Raw profile type {kind}");
                let text = raw_profile(kind, &bytes);
                let coded = ZTXtChunk::new(&name, &text);
                let png = png_with(is_behind, |writer| writer.write_text_chunk(&coded).unwrap());
                assert_eq!(is_turned(&png), expected, "{name}");
                let plain = TEXtChunk::new(&name, &text);
                let png = png_with(is_behind, |writer| writer.write_text_chunk(&plain).unwrap());
                assert_eq!(is_turned(&png), expected, "{name}");
            }
        }
    }
}

#[test]
fn exif_wins_over_xmp_in_every_format() {
    let (turns, stays) = (exif(6), exif(1));
    assert!(is_turned(&jpeg_with(&[&jpeg_xmp(1), &turns])));
    assert!(!is_turned(&jpeg_with(&[&stays, &jpeg_xmp(6)])));
    for (block, expected) in [(&turns, true), (&stays, false)] {
        let text = xmp(if expected { 1 } else { 6 }, true);
        let webp = webp_with(12, &[(b"EXIF", block), (b"XMP ", text.as_bytes())]);
        assert_eq!(is_turned(&webp), expected);
        let png = png_with(false, |writer| {
            let chunk = png::text_metadata::ITXtChunk::new("XML:com.adobe.xmp", &text);
            writer.write_text_chunk(&chunk).unwrap();
            writer
                .write_chunk(png::chunk::ChunkType(*b"eXIf"), &block[6..])
                .unwrap();
        });
        assert_eq!(is_turned(&png), expected);
    }
}

/// Metadata that is damaged, or inflates to more than any metadata has, is left out; the picture is not.
#[test]
fn damaged_metadata_does_not_cost_the_picture() {
    use png::text_metadata::{TEXtChunk, ZTXtChunk};
    let long = format!("{}{}", " ".repeat(3 << 20), xmp(6, true));
    let text = |name: &str, text: &str| {
        let chunk = ZTXtChunk::new(name, text);
        png_with(false, |writer| writer.write_text_chunk(&chunk).unwrap())
    };
    let bomb = text("Raw profile type exif", &long);
    assert!(bomb.len() < 20_000);
    assert!(!is_turned(&bomb));
    for odd in [
        "",
        "\n",
        "\nexif\n",
        "\nexif\n  99\nabc",
        "\nexif\n 2\nzz\n",
        "no lines",
    ] {
        assert!(!is_turned(&text("Raw profile type exif", odd)), "{odd:?}");
        let plain = TEXtChunk::new("Raw profile type APP1", odd);
        assert!(!is_turned(&png_with(true, |writer| writer
            .write_text_chunk(&plain)
            .unwrap())));
    }
    for content in [
        &b"Raw profile type exif\0\0damaged"[..],
        b"Raw profile type exif",
        b"\0",
        b"",
    ] {
        let name = png::chunk::ChunkType(*b"zTXt");
        let png = png_with(false, |writer| writer.write_chunk(name, content).unwrap());
        assert!(!is_turned(&png), "{content:?}");
    }
    // Bytes that are no UTF-8, in a text of another name as well.
    for keyword in ["XML:com.adobe.xmp", "Comment"] {
        let content = [keyword.as_bytes(), b"\0\0\0\0\0\xff\xfe"].concat();
        let name = png::chunk::ChunkType(*b"iTXt");
        let png = png_with(false, |writer| writer.write_chunk(name, &content).unwrap());
        assert!(!is_turned(&png), "{keyword}");
    }
}

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

const BASELINE: &str = "tests/media/samples/gradient.jpg";
const PROGRESSIVE: &str = "tests/fuzz/seeds/image/progressive.jpg";
const RESTARTS: &str = "tests/fuzz/seeds/image/restart.jpg";

/// The segments of a JPEG up to its first samples, and the rest.
fn segments(jpeg: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut at, mut segments) = (2, Vec::new());
    loop {
        let length = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])) + 2;
        segments.push(jpeg[at..at + length].to_vec());
        at += length;
        if jpeg[at - length + 1] == 0xda {
            return (segments, jpeg[at..].to_vec());
        }
    }
}

fn joined(segments: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    [b"\xff\xd8", &segments.concat()[..], rest].concat()
}

#[track_caller]
fn rgb(bytes: &[u8]) -> Vec<u8> {
    decode_image(bytes, "a.jpg").unwrap().rgb
}

#[test]
fn a_jpeg_with_stray_bytes_between_its_segments_is_read() {
    for name in [BASELINE, PROGRESSIVE, RESTARTS] {
        let whole = file(name);
        let (segments, rest) = segments(&whole);
        for stray in [
            &b"\0"[..],
            b"\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff",
            b"text",
            b"\xff\0\xff\0a\xff",
        ] {
            for at in 1..segments.len() {
                let mut odd = segments.clone();
                odd.insert(at, stray.to_vec());
                assert!(
                    rgb(&joined(&odd, &rest)) == rgb(&whole),
                    "{name}: {stray:?} at {at}"
                );
            }
            let behind = [&whole[..], stray].concat();
            assert!(rgb(&behind) == rgb(&whole), "{name}: {stray:?} behind");
        }
    }
    // Between a table and its scan in a progressive picture, too.
    let whole = file(PROGRESSIVE);
    let (segments, rest) = segments(&whole);
    let scans: Vec<usize> = (1..rest.len())
        .filter(|&i| rest[i - 1..].starts_with(b"\xff\xda"))
        .collect();
    assert!(!scans.is_empty());
    for at in scans {
        let odd = [&rest[..at - 1], b"\0stray\xff\xff", &rest[at - 1..]].concat();
        assert!(rgb(&joined(&segments, &odd)) == rgb(&whole), "at {at}");
    }
}

#[test]
fn segments_that_are_no_part_of_a_jpeg_s_picture_do_not_matter() {
    let whole = file(BASELINE);
    let (segments, rest) = segments(&whole);
    for (marker, content) in [
        (0xe1_u8, &b"http://ns.adobe.com/xmp/extension/\0short"[..]),
        (0xe1, b"Exif\0\0damaged"),
        (0xe2, b""),
        (0xe2, b"ICC_PROFILE\0\x09\x01"),
        (0xed, b"Photoshop 3.0\0"),
        (0xee, b"Adobe"),
        (0xee, b"Adobe\0\x64\0\0\0\0\x09"),
        (0xee, b"Adobe\0\x64\0\0\0\0\0"),
        (0xfe, b"a comment"),
        (0xef, &[7; 300]),
    ] {
        let mut odd = segments.clone();
        let length = (content.len() as u16 + 2).to_be_bytes();
        odd.insert(1, [&[0xff, marker], &length[..], content].concat());
        assert!(
            rgb(&joined(&odd, &rest)) == rgb(&whole),
            "{marker:x} {content:?}"
        );
    }
}

/// Three components are luma and chroma, or RGB: JFIF decides before Adobe, and of several Adobe segments the last, wherever
/// they stand before the first scan. The pixels are Pillow's.
#[test]
fn the_colours_of_a_jpeg_are_those_that_libjpeg_takes_them_for() {
    const CHROMA: [[u8; 3]; 2] = [[238, 0, 15], [167, 0, 88]];
    const RGB: [[u8; 3]; 2] = [[73, 95, 246], [60, 144, 204]];
    let (segments, rest) = segments(&file(BASELINE));
    let jfif = segments[0].clone();
    assert_eq!(&jfif[4..8], b"JFIF");
    let short = b"\xff\xe0\0\x0cJFIF\0\x01\x01\0\0\x01".to_vec();
    let adobe = |bytes: &[u8]| {
        let length = [0, 13 + bytes.len() as u8];
        [b"\xff\xee", &length[..], b"Adobe\0\x64\0\0\0\0", bytes].concat()
    };
    let [kept, luma, luma_black, other] = [0, 1, 2, 9].map(|transform| adobe(&[transform]));
    let (cut, long) = (adobe(&[]), adobe(&[0, 0]));
    // What stands in front, what stands before the scan, and what it then is.
    for (front, late, expected) in [
        (vec![], None, CHROMA),
        (vec![&jfif], None, CHROMA),
        (vec![&short], None, CHROMA),
        (vec![&kept], None, RGB),
        (vec![&luma], None, CHROMA),
        (vec![&luma_black], None, CHROMA),
        (vec![&other], None, CHROMA),
        (vec![&cut], None, CHROMA),
        (vec![&long], None, RGB),
        (vec![&jfif, &kept], None, CHROMA),
        (vec![&kept, &jfif], None, CHROMA),
        (vec![&kept, &short], None, RGB),
        (vec![&kept, &luma], None, CHROMA),
        (vec![&luma, &kept], None, RGB),
        (vec![&kept], Some(&jfif), CHROMA),
        (vec![], Some(&kept), RGB),
    ] {
        let front: Vec<Vec<u8>> = front.into_iter().cloned().collect();
        let (scan, own) = segments[1..].split_last().unwrap();
        let late = late.cloned().into_iter().collect();
        let all = [front, own.to_vec(), late, vec![scan.clone()]].concat();
        let rgb = rgb(&joined(&all, &rest));
        for ((x, y), expected) in [(3, 2), (20, 5)].into_iter().zip(expected) {
            let found = &rgb[3 * (48 * y + x)..][..3];
            let is_near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 3);
            assert!(is_near, "{found:?} {expected:?} {all:?}");
        }
    }
}

#[test]
fn a_jpeg_that_lacks_its_end_marker_alone_is_read_and_one_that_lacks_more_is_not() {
    for name in [BASELINE, PROGRESSIVE, RESTARTS] {
        let whole = file(name);
        let end = whole.len() - 2;
        assert_eq!(&whole[end..], b"\xff\xd9", "{name}");
        for cut in 0..end {
            for behind in [&b""[..], &[0; 100]] {
                let bytes = [&whole[..cut], behind].concat();
                assert!(decode_image(&bytes, "cut.jpg").is_err(), "{name} at {cut}");
            }
        }
        for bytes in [
            &whole[..end],
            &whole[..=end],
            &[&whole[..end], &[0; 100]].concat(),
        ] {
            match decode_image(bytes, "a.jpg") {
                Ok(image) => assert!(name == BASELINE && image.rgb == rgb(&whole)),
                // Whether scans or restarts are missing cannot be seen.
                Err(e) => assert!(
                    name != BASELINE && e.to_string().contains("no end marker"),
                    "{e}"
                ),
            }
        }
    }
}

#[test]
fn rare_jpegs_are_refused_by_name() {
    let whole = jpeg(8, 8, 3, None);
    let frame = whole
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    for (at, value, kind) in [
        (1, 0xc3, "a lossless JPEG"),
        (1, 0xc5, "a hierarchical JPEG"),
        (1, 0xc9, "a JPEG with arithmetic coding"),
        (4, 12, "a JPEG of more than 8 bits"),
        (9, 4, "a CMYK picture"),
    ] {
        let mut rare = whole.clone();
        rare[frame + at] = value;
        let text = decode_image(&rare, "a.jpg").unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("a.jpg: is {kind}; expected")),
            "{text}"
        );
    }
}

/// Alpha is dropped, and only a pixel that is not opaque makes that worth saying.
#[test]
fn transparency_is_noticed_where_there_is_some() {
    use png::{BitDepth::*, ColorType::*};
    let still = |color, depth, samples: &[u8], transparency: Option<Vec<u8>>| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == Indexed {
            encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
        }
        if let Some(transparency) = transparency {
            encoder.set_trns(transparency);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(samples).unwrap();
        writer.finish().unwrap();
        bytes
    };
    let coded = |samples: &[u8]| {
        let mut bytes = Vec::new();
        let encoder = image_webp::WebPEncoder::new(&mut bytes);
        let color = image_webp::ColorType::Rgba8;
        encoder.encode(samples, 2, 1, color).unwrap();
        bytes
    };
    let (clear, opaque) = ([1, 2, 3, 255, 1, 2, 3, 254], [1, 2, 3, 255, 4, 5, 6, 255]);
    for (bytes, expected) in [
        (still(Rgba, Eight, &clear, None), true),
        (still(Rgba, Eight, &opaque, None), false),
        (still(GrayscaleAlpha, Eight, &[9, 0, 9, 255], None), true),
        (still(GrayscaleAlpha, Eight, &[0, 255, 0, 255], None), false),
        (still(Grayscale, Eight, &[9, 0], None), false),
        (still(Grayscale, Eight, &[9, 0], Some(vec![0, 9])), true),
        (still(Grayscale, Eight, &[9, 0], Some(vec![0, 8])), false),
        (still(Rgb, Eight, &[0; 6], None), false),
        (still(Rgb, Eight, &[0; 6], Some(vec![0; 6])), true),
        (still(Indexed, Eight, &[0, 1], Some(vec![255, 7])), true),
        (still(Indexed, Eight, &[0, 0], Some(vec![255, 7])), false),
        (coded(&clear), true),
        (coded(&opaque), false),
        (jpeg(8, 8, 3, None), false),
    ] {
        let image = decode_image(&bytes, "a").unwrap();
        assert_eq!(image.is_transparent, expected, "{bytes:?}");
        assert_eq!(image.rgb.len(), 3 * image.width * image.height);
    }
}
