//! Good, bad and hostile pictures.

use std::{fs, path::Path};

use gallop::media::{Image, decode_image, open_image, preprocess};
use proptest::prelude::*;

use crate::{properties::config, scratch::Scratch};

fn png_of(color: png::ColorType, depth: png::BitDepth, width: u32, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let channels = color.samples()
        * if depth == png::BitDepth::Sixteen {
            2
        } else {
            1
        };
    let height = samples.len() / channels / width as usize;
    let mut encoder = png::Encoder::new(&mut bytes, width, height as u32);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(samples).unwrap();
    writer.finish().unwrap();
    bytes
}

fn rgb_png(width: u32, rgb: &[u8]) -> Vec<u8> {
    png_of(png::ColorType::Rgb, png::BitDepth::Eight, width, rgb)
}

fn animated_png() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1; 6]).unwrap();
    writer.write_image_data(&[2; 6]).unwrap();
    writer.finish().unwrap();
    bytes
}

pub(crate) fn webp(width: u32, rgb: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    image_webp::WebPEncoder::new(&mut bytes)
        .encode(
            rgb,
            width,
            (rgb.len() / 3) as u32 / width,
            image_webp::ColorType::Rgb8,
        )
        .unwrap();
    bytes
}

pub(crate) fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
    if content.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes
}

/// Two frames of one still WebP.
fn animated_webp() -> Vec<u8> {
    let still = webp(4, &[9; 4 * 4 * 3]);
    // canvas 4x4, flag "animation"; a frame has its place, size less one, duration and flags before it
    let mut content = b"WEBP".to_vec();
    content.extend(chunk(b"VP8X", &[2, 0, 0, 0, 3, 0, 0, 3, 0, 0]));
    content.extend(chunk(b"ANIM", &[0; 6]));
    let mut frame = vec![0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 40, 0, 0, 0];
    frame.extend(&still[12..]);
    content.extend(chunk(b"ANMF", &frame));
    content.extend(chunk(b"ANMF", &frame));
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
    bytes
}

/// A baseline JPEG, grey all over: every block codes "no change" and "end of block", one bit each.
pub(crate) fn jpeg(width: u16, height: u16, components: u8, exif: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    let mut segment = |marker: u8, content: &[u8]| {
        bytes.extend([0xff, marker]);
        bytes.extend((content.len() as u16 + 2).to_be_bytes());
        bytes.extend(content);
    };
    if let Some(exif) = exif {
        segment(0xe1, exif);
    }
    let mut quantisers = vec![0];
    quantisers.extend([1; 64]);
    segment(0xdb, &quantisers);
    let mut frame = vec![8];
    frame.extend(height.to_be_bytes());
    frame.extend(width.to_be_bytes());
    frame.push(components);
    (1..=components).for_each(|id| frame.extend([id, 0x11, 0]));
    segment(0xc0, &frame);
    for class in [0x00, 0x10] {
        let mut table = vec![class, 1];
        table.extend([0; 15]);
        table.push(0);
        segment(0xc4, &table);
    }
    let mut scan = vec![components];
    (1..=components).for_each(|id| scan.extend([id, 0]));
    scan.extend([0, 63, 0]);
    segment(0xda, &scan);
    let blocks = usize::from(width.div_ceil(8)) * usize::from(height.div_ceil(8));
    let bits = 2 * blocks * usize::from(components);
    bytes.extend(vec![0; bits.div_ceil(8).min(1 << 16)]);
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// An EXIF block whose only entry is the orientation.
pub(crate) fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    bytes.extend([orientation, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn every_kind_of_pixel_becomes_rgb() {
    use png::{BitDepth::*, ColorType::*};
    let cases: [(Vec<u8>, &[u8]); 8] = [
        (rgb_png(2, &[1, 2, 3, 4, 5, 6]), &[1, 2, 3, 4, 5, 6]),
        (png_of(Grayscale, Eight, 2, &[7, 8]), &[7, 7, 7, 8, 8, 8]),
        (png_of(GrayscaleAlpha, Eight, 1, &[7, 0]), &[7, 7, 7]),
        (png_of(Rgba, Eight, 1, &[1, 2, 3, 0]), &[1, 2, 3]),
        (
            png_of(Indexed, Eight, 2, &[1, 0]),
            &[40, 50, 60, 10, 20, 30],
        ),
        (png_of(Rgb, Sixteen, 1, &[1, 255, 2, 255, 3, 0]), &[1, 2, 3]),
        (webp(2, &[9, 8, 7, 6, 5, 4]), &[9, 8, 7, 6, 5, 4]),
        (jpeg(1, 1, 1, None), &[128, 128, 128]),
    ];
    for (i, (bytes, rgb)) in cases.iter().enumerate() {
        let image = decode_image(bytes, "picture").unwrap_or_else(|e| panic!("case {i}: {e}"));
        assert_eq!(image.rgb, *rgb, "case {i}");
    }
}

#[test]
fn jpegs_of_three_components_and_turned_ones_are_read() {
    let image = decode_image(&jpeg(24, 10, 3, None), "a.jpg").unwrap();
    assert_eq!((image.width, image.height), (24, 10));
    for (orientation, size) in [(1, (24, 10)), (3, (24, 10)), (6, (10, 24)), (8, (10, 24))] {
        let image = decode_image(&jpeg(24, 10, 1, Some(&exif(orientation))), "a.jpg").unwrap();
        assert_eq!(
            (image.width, image.height),
            size,
            "orientation {orientation}"
        );
    }
}

fn sample(name: &str) -> Image {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    open_image(&root.join("tests/media/samples").join(name)).unwrap()
}

/// The same gradient by three codecs of another program; decoders of lossy files differ by a few levels.
#[test]
fn lossy_pictures_are_near_the_lossless_one() {
    let exact = sample("gradient.png");
    for name in ["gradient.jpg", "gradient.webp"] {
        let image = sample(name);
        assert_eq!((image.width, image.height), (48, 32));
        let total: u32 = image
            .rgb
            .iter()
            .zip(&exact.rgb)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        let mean = f64::from(total) / image.rgb.len() as f64;
        assert!(mean < 3.0, "{name}: {mean:.2} levels off");
    }
}

#[test]
fn the_name_does_not_matter_but_the_content_does() {
    let folder = Scratch::new("content");
    let path = folder.path("really-a-png.jpg");
    fs::write(&path, rgb_png(1, &[1, 2, 3])).unwrap();
    assert_eq!(open_image(&path).unwrap().rgb, [1, 2, 3]);
}

fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = rgb_png(1, &[1, 2, 3]);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |s, _| {
            s >> 1 ^ if s & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// A lossless WebP of one pixel whose header claims a size.
fn webp_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = webp(1, &[1, 2, 3]);
    let at = bytes.windows(4).position(|w| w == b"VP8L").unwrap() + 9;
    let size = (width - 1) | (height - 1) << 14;
    bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
    bytes
}

#[test]
fn a_large_picture_of_one_colour_is_read() {
    let rgb = [9, 8, 7].repeat(4000 * 3000);
    let whole = decode_image(&rgb_png(4000, &rgb), "one colour").unwrap();
    assert_eq!((whole.width, whole.height), (4000, 3000));
    assert!(whole.rgb == rgb);
    let short = webp(2000, &[9, 8, 7].repeat(2000 * 2000));
    assert!(short.len() < 4000, "{} bytes", short.len());
    assert_eq!(decode_image(&short, "short").unwrap().height, 2000);
}

#[test]
fn a_png_palette_is_whole_colours_and_at_most_256() {
    for (palette_bytes, fits) in [
        (3, true),
        (4, false),
        (49, false),
        (768, true),
        (771, false),
    ] {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![9; palette_bytes]);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0, 0]).unwrap();
        writer.finish().unwrap();
        let decoded = decode_image(&bytes, "palette.png");
        assert_eq!(decoded.is_ok(), fits, "{palette_bytes} bytes");
    }
}

#[test]
fn hostile_pictures_get_one_sentence_with_the_name() {
    let whole = rgb_png(
        16,
        &(0..16 * 16 * 3).map(|i| (i * 7) as u8).collect::<Vec<_>>(),
    );
    let truncated_jpeg = {
        let bytes = jpeg(640, 640, 1, None);
        bytes[..bytes.len() - 1000].to_vec()
    };
    let cases: [(&str, Vec<u8>, &str); 18] = [
        (
            "0x0 png",
            png_header(0, 0),
            "0x0; expected at least one pixel",
        ),
        ("0x5 png", png_header(0, 5), "0x5"),
        (
            "huge png",
            png_header(60_000, 60_000),
            "60000x60000; expected at most 4 million pixels in a file of 69 bytes",
        ),
        (
            "huge and long png",
            [png_header(60_000, 60_000), vec![0; 200_000]].concat(),
            "60000x60000; expected at most 100 million pixels, make",
        ),
        (
            "short webp",
            webp_header(2100, 2000),
            "2100x2000; expected at most 4 million pixels in a file of",
        ),
        ("0x0 jpeg", jpeg(0, 0, 3, None), "JPEG"),
        ("huge jpeg", jpeg(60_000, 60_000, 3, None), "60000x60000"),
        ("huge webp", webp_header(16383, 16383), "16383x16383"),
        ("cmyk jpeg", jpeg(8, 8, 4, None), "CMYK"),
        ("animated png", animated_png(), "animation of 2 frames"),
        ("animated webp", animated_webp(), "animation of 2 frames"),
        (
            "truncated png",
            whole[..whole.len() / 2].to_vec(),
            "truncated PNG",
        ),
        ("truncated jpeg", truncated_jpeg, "truncated JPEG"),
        (
            "truncated webp",
            webp(2, &[9; 12])[..30].to_vec(),
            "truncated WebP",
        ),
        ("empty", Vec::new(), "is empty"),
        ("text", b"hello, I am a picture".to_vec(), "not a picture"),
        ("gif", b"GIF89a....".to_vec(), "a GIF file"),
        ("png name only", whole[..8].to_vec(), "PNG"),
    ];
    for (name, bytes, expected) in cases {
        let error = match decode_image(&bytes, name) {
            Err(error) => error,
            Ok(image) => panic!("{name}: read as {}x{}", image.width, image.height),
        };
        let text = error.to_string();
        assert_eq!(error.exit_code(), 3, "{text}");
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn other_pictures_are_refused_by_name_with_the_command_that_converts_them() {
    for (bytes, kind) in [
        (&b"GIF87a"[..], "a GIF file"),
        (b"BM\x36\0", "a BMP file"),
        (b"II*\0\x08", "a TIFF or raw camera file"),
        (b"MM\0*\0", "a TIFF or raw camera file"),
        (b"\0\0\0\x0cJXL \r\n", "a JPEG XL file"),
        (b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 file"),
        (b"8BPS\0\x01", "a Photoshop file"),
        (b"\0\0\0\x1cftypavif", "an AVIF file"),
        (b"\0\0\0\x18ftypheic", "a HEIC file"),
        (b"\0\0\0\x18ftypmif1", "a HEIC or AVIF file"),
        (b"\0\0\0\x18ftypisom", "a video file"),
    ] {
        let text = decode_image(bytes, "a.x").unwrap_err().to_string();
        assert!(text.starts_with(&format!("a.x: is {kind}; ")), "{text}");
        assert!(
            text.ends_with("ffmpeg -i 'a.x' -frames:v 1 'a.x.png'"),
            "{text}"
        );
    }
}

#[test]
fn what_ffmpeg_cannot_convert_gets_another_command_or_none() {
    let page = "is a web page (HTML), not the file; download it again";
    let svg = "is an SVG file; expected a PNG, JPEG or WebP picture, convert it: rsvg-convert 'a.x' -o 'a.x.png'";
    for (bytes, expected) in [
        ("<svg xmlns=", svg),
        ("\n <?xml version='1.0'?><!-- drawn --><svg>", svg),
        ("<!DOCTYPE svg PUBLIC><svg>", svg),
        (
            "%PDF-1.7",
            "is a PDF document; expected a PNG, JPEG or WebP picture, convert it: pdftoppm -png -singlefile 'a.x' 'a.x'",
        ),
        ("<!DOCTYPE html><p>Not found", page),
        ("<!doctype html><html><svg>", page),
        ("  <HTML>", page),
        ("<?xml version='1.0'?>\n<html xmlns=", page),
        ("<?xml version='1.0'?><!DOCTYPE HTML PUBLIC", page),
        (
            "<?xml version='1.0'?><Error><Code>AccessDenied",
            "is an XML document, as a failed download leaves, not the file",
        ),
        (
            "{\"message\": \"Not Found\"}",
            "is a server's answer, not the file: {",
        ),
        ("\0\u{5}\u{16}\u{7}", "is what macOS keeps beside a file"),
        (
            "hello",
            "is not a picture we know; expected a PNG, JPEG or WebP picture",
        ),
    ] {
        let text = decode_image(bytes.as_bytes(), "a.x")
            .unwrap_err()
            .to_string();
        assert!(text.starts_with(&format!("a.x: {expected}")), "{text}");
        assert!(!text.contains("ffmpeg"), "{text}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = Scratch::new("unreadable");
    fs::write(folder.path("empty.png"), "").unwrap();
    for (path, expected) in [
        (folder.path("missing.png"), "cannot be read"),
        (folder.folder().to_path_buf(), "is a folder"),
        (folder.path("empty.png"), "is empty"),
    ] {
        let error = open_image(&path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            error.to_string().starts_with(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn a_single_pixel_is_used_if_the_crop_keeps_it() {
    let dot = decode_image(&rgb_png(1, &[255, 0, 255]), "dot.png").unwrap();
    let x = preprocess(&dot, 32, 32).unwrap();
    assert_eq!(x.shape().extents(), [3, 32, 32]);
    assert_eq!(x.to_f32()[0], 1.0);
    assert_eq!(x.to_f32()[32 * 32], -1.0);
    let error = preprocess(&dot, 64, 32).unwrap_err();
    assert!(error.to_string().starts_with("dot.png: is 1x1"), "{error}");
}

fn good_pictures() -> Vec<Vec<u8>> {
    let rgb: Vec<u8> = (0..12 * 9 * 3).map(|i| (i * 11) as u8).collect();
    vec![
        rgb_png(12, &rgb),
        webp(12, &rgb),
        jpeg(24, 16, 3, Some(&exif(6))),
        animated_png(),
        animated_webp(),
    ]
}

proptest! {
    #![proptest_config(config(2000))]

    /// Damaged pictures are read or refused, never a panic.
    #[test]
    fn mutated_pictures_do_not_panic(
        which in 0_usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = good_pictures().swap_remove(which);
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(image) = decode_image(&bytes, "mutated") {
            prop_assert_eq!(image.rgb.len(), 3 * image.width * image.height);
        }
    }

    #[test]
    fn random_bytes_are_refused(
        start in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"RIFF\x80\0\0\0WEBP", b""]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &bytes].concat();
        prop_assert!(decode_image(&bytes, "random").is_err());
    }

    /// Every size gives a crop inside the picture, and a tensor in range or a refusal.
    #[test]
    fn any_picture_is_cropped_inside_itself(
        (w, h) in (1_usize..90, 1_usize..90),
        (tw, th) in (1_usize..5, 1_usize..5),
    ) {
        let (tw, th) = (32 * tw, 32 * th);
        let [left, top, right, bottom] = gallop::media::crop_box(w, h, tw, th);
        prop_assert!(left <= right && right <= w && top <= bottom && bottom <= h);
        let image = Image { name: "grey".into(), width: w, height: h, rgb: vec![200; 3 * w * h], is_transparent: false };
        if let Ok(x) = preprocess(&image, tw, th) {
            // A flat picture stays flat: the filter's weights add up to one.
            let flat = 2.0 * (200.0_f32 / 255.0) - 1.0;
            prop_assert!(x.to_f32().iter().all(|&v| v == flat));
        }
    }
}
