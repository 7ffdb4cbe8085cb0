//! Images: PNG, JPEG and WebP files to 8-bit RGB.
//!
//! The format is recognised by the first bytes, never by the name. The orientation that metadata tells is applied, alpha
//! is dropped (not blended), palettes and greys are expanded, 16-bit values keep the upper byte. Sizes are checked before
//! anything is allocated. Animations and CMYK are refused, since reading them would silently change the image. Reference:
//! `PIL.Image.open`, `ImageOps.exif_transpose`, `convert("RGB")`.

use std::{io::Cursor, path::Path};

use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use crate::{
    Error, Result,
    error::{GivenFile, stand_in},
};

use super::{
    image::Image,
    jpeg::{ARITHMETIC, Jpeg},
    orientation::{orientation, upright},
};

/// Largest image that is read, pixels.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Longest picture file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 256 << 20;
/// Kinds that ffmpeg does not read.
const SVG: &str = "an SVG file";
const PDF: &str = "a PDF document";
const UNKNOWN: &str = "not a picture we know";

/// Reads the PNG, JPEG or WebP image at `path` as u8 `[height, width, 3]`.
///
/// # Errors
/// [`Error::Input`] naming the file if it is unreadable, of another format, damaged or truncated, empty, over
/// [`MAX_PIXELS`], animated, or CMYK.
pub fn open_image(path: &Path) -> Result<Image> {
    let bytes = GivenFile::Input.read(path, MAX_FILE_BYTES)?;
    decode_image(&bytes, &path.display().to_string())
}

/// [`open_image`] from bytes; messages call them `name`.
///
/// # Errors
/// As [`open_image`].
pub fn decode_image(bytes: &[u8], name: &str) -> Result<Image> {
    let decoded = match bytes {
        [] => Err("is empty".into()),
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => decode_png(bytes),
        [0xff, 0xd8, 0xff, ..] => decode_jpeg(bytes, name),
        _ if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => decode_webp(bytes),
        _ => Err(match other_format(bytes) {
            UNKNOWN => stand_in(bytes).unwrap_or_else(|| unread(UNKNOWN, name)),
            kind => unread(kind, name),
        }),
    };
    let picture = decoded.map_err(|problem| Error::input(name, problem))?;
    let image = Image {
        name: name.into(),
        width: picture.width,
        height: picture.height,
        rgb: picture.rgb,
        is_transparent: picture.is_transparent,
    };
    Ok(upright(image, picture.orientation))
}

/// A decoder's result: the image as stored, and its orientation.
struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    is_transparent: bool,
    orientation: u16,
}

/// Refuses a `width` x `height` image of a file of `bytes` that has no pixel, or too many: more than [`MAX_PIXELS`], or
/// than files of that length have unless they are made to be a burden.
fn check_pixels(width: u64, height: u64, bytes: usize) -> Result<(), String> {
    /// Pixels of any file.
    const ALWAYS: u64 = 4_000_000;
    /// More pixels for each byte; one colour as a PNG has 350, as a JPEG 200.
    const A_BYTE: u64 = 1000;
    if width == 0 || height == 0 {
        return Err(format!("is {width}x{height}; expected at least one pixel"));
    }
    let pixels = width.saturating_mul(height);
    let by_length = ALWAYS + A_BYTE * bytes as u64;
    if pixels <= MAX_PIXELS.min(by_length) {
        return Ok(());
    }
    let (most, of) = match by_length < MAX_PIXELS {
        true => (by_length, format!(" in a file of {bytes} bytes")),
        false => (MAX_PIXELS, String::new()),
    };
    Err(format!(
        "is {width}x{height}; expected at most {} million pixels{of}, make it smaller",
        most / 1_000_000
    ))
}

fn damaged(format: &str, reason: impl std::fmt::Display) -> String {
    // Some decoders end a reason with a line, or quote it.
    let reason = reason.to_string();
    let reason = reason.trim_matches(|c: char| c == '"' || c.is_whitespace());
    format!("is a damaged or truncated {format} file ({reason})")
}

/// That a picture is of a `kind` which is not read, and the command that converts it, if there is one.
fn unread(kind: &str, name: &str) -> String {
    let command = match kind {
        SVG => format!(", convert it: rsvg-convert '{name}' -o '{name}.png'"),
        PDF => format!(", convert it: pdftoppm -png -singlefile '{name}' '{name}'"),
        ARITHMETIC => format!(", convert it: magick '{name}' '{name}.png'"),
        UNKNOWN => String::new(),
        _ => format!(", convert it: ffmpeg -i '{name}' -frames:v 1 '{name}.png'"),
    };
    format!("is {kind}; expected a PNG, JPEG or WebP picture{command}")
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    // The decoder refuses a zero size as damaged; the header is fixed, so say it in our words.
    let header = bytes.get(16..24).map(|header| header.as_chunks().0);
    if let Some(&[width, height]) = header {
        let [width, height] = [width, height].map(|side| u32::from_be_bytes(side).into());
        check_pixels(width, height, bytes.len())?;
    }
    let bad = |e: png::DecodingError| damaged("PNG", e);
    let limits = png::Limits {
        bytes: MAX_FILE_BYTES as usize,
    };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(bad)?;
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    check_pixels(info.width.into(), info.height.into(), bytes.len())?;
    if let Some(animation) = info.animation_control()
        && animation.num_frames > 1
    {
        return Err(animated(u64::from(animation.num_frames)));
    }
    // The decoder checks only that the palette is not too long.
    let palette_bytes = info.palette.as_ref().map_or(0, |palette| palette.len());
    if !palette_bytes.is_multiple_of(3) {
        return Err(damaged(
            "PNG",
            format_args!("{palette_bytes} bytes of palette"),
        ));
    }
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| damaged("PNG", "size overflows"))?;
    let mut samples = vec![0; size];
    reader.next_frame(&mut samples).map_err(bad)?;
    // Also reads what follows the pixels, where the orientation may be stored.
    reader.finish().map_err(bad)?;
    let channels = reader.output_color_type().0.samples();
    let orientation = orientation(&png_metadata(reader.info()));
    Ok(Picture {
        width,
        height,
        is_transparent: is_transparent(&samples, channels),
        rgb: to_rgb(samples, channels),
        orientation,
    })
}

/// What may tell the orientation of a PNG: its EXIF, XMP, and EXIF or XMP as ImageMagick writes them, in hexadecimal
/// digits.
fn png_metadata(info: &png::Info<'_>) -> Vec<Vec<u8>> {
    /// Most texts that are read, and most bytes of one when it is inflated.
    const TEXTS: usize = 4;
    const TEXT_BYTES: usize = 1 << 20;
    let is_profile = |name: &str| {
        let kinds = ["exif", "app1", "xmp"];
        let kind = name.strip_prefix("Raw profile type ");
        kind.is_some_and(|kind| kinds.iter().any(|known| kind.eq_ignore_ascii_case(known)))
    };
    let xmp = info.utf8_text.iter();
    let xmp = xmp.filter(|text| text.keyword == "XML:com.adobe.xmp");
    let xmp = xmp.take(TEXTS).filter_map(|text| {
        let mut text = text.clone();
        text.decompress_text_with_limit(TEXT_BYTES).ok()?;
        text.get_text().ok().map(String::into_bytes)
    });
    let coded = info.compressed_latin1_text.iter();
    let coded = coded.filter(|text| is_profile(&text.keyword));
    let coded = coded.take(TEXTS).filter_map(|text| {
        let mut text = text.clone();
        text.decompress_text_with_limit(TEXT_BYTES).ok()?;
        text.get_text().ok()
    });
    let plain = info.uncompressed_latin1_text.iter();
    let plain = plain.filter(|text| is_profile(&text.keyword));
    let profiles = coded.chain(plain.map(|text| text.text.clone()));
    let exif = info.exif_metadata.iter().map(|exif| exif.to_vec());
    exif.chain(profiles.map(|text| profile_bytes(&text)))
        .chain(xmp)
        .collect()
}

/// The bytes of a raw profile: a line with its name, one with its length, and digits.
fn profile_bytes(text: &str) -> Vec<u8> {
    let digits = text.trim_start().splitn(3, '\n').nth(2).unwrap_or("");
    let digits: Vec<u8> = digits
        .chars()
        .filter_map(|c| Some(c.to_digit(16)? as u8))
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn decode_jpeg(bytes: &[u8], name: &str) -> Result<Picture, String> {
    let jpeg = Jpeg::read(bytes).map_err(|e| damaged("JPEG", e))?;
    let bad = |e: zune_jpeg::errors::DecodeErrors| match jpeg.has_end {
        true => damaged("JPEG", e),
        false => damaged("JPEG", "no end marker"),
    };
    let max_side = usize::from(u16::MAX);
    // Strict: otherwise a file that ends early is filled up with grey.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(max_side)
        .set_max_height(max_side)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    if let Some(kind) = jpeg.rare_kind() {
        return Err(unread(kind, name));
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&jpeg.picture), options);
    decoder.decode_headers().map_err(bad)?;
    let info = decoder
        .info()
        .ok_or_else(|| damaged("JPEG", "no frame header"))?;
    check_pixels(info.width.into(), info.height.into(), bytes.len())?;
    Ok(Picture {
        width: usize::from(info.width),
        height: usize::from(info.height),
        rgb: decoder.decode().map_err(bad)?,
        is_transparent: false,
        orientation: orientation(&jpeg.metadata),
    })
}

fn decode_webp(bytes: &[u8]) -> Result<Picture, String> {
    let bad = |e: image_webp::DecodingError| damaged("WebP", e);
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(bad)?;
    let (width, height) = decoder.dimensions();
    check_pixels(width.into(), height.into(), bytes.len())?;
    if decoder.is_animated() {
        return Err(animated(u64::from(decoder.num_frames())));
    }
    let size = decoder
        .output_buffer_size()
        .ok_or_else(|| damaged("WebP", "size overflows"))?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut samples = vec![0; size];
    decoder.read_image(&mut samples).map_err(bad)?;
    let metadata = [decoder.exif_metadata(), decoder.xmp_metadata()];
    let metadata: Vec<Vec<u8>> = metadata.into_iter().flatten().flatten().collect();
    Ok(Picture {
        width: width as usize,
        height: height as usize,
        is_transparent: is_transparent(&samples, channels),
        rgb: to_rgb(samples, channels),
        orientation: orientation(&metadata),
    })
}

fn animated(frames: u64) -> String {
    format!("is an animation of {frames} frames; expected a still picture, save one frame of it")
}

/// Whether a pixel of 2 or 4 channels, of which the last is alpha, is not opaque.
fn is_transparent(samples: &[u8], channels: usize) -> bool {
    let mut alpha = samples.iter().skip(channels - 1).step_by(channels);
    channels.is_multiple_of(2) && alpha.any(|&alpha| alpha != u8::MAX)
}

/// Interleaved samples of 1 (grey), 2 (grey, alpha), 3 or 4 (colour, alpha) channels as RGB.
fn to_rgb(mut samples: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        3 => samples,
        4 => {
            // In place: a large picture is there once.
            let pixels = samples.len() / 4;
            for i in 0..pixels {
                samples.copy_within(4 * i..4 * i + 3, 3 * i);
            }
            samples.truncate(3 * pixels);
            samples.shrink_to_fit();
            samples
        }
        _ => samples
            .chunks_exact(channels)
            .flat_map(|p| [p[0]; 3])
            .collect(),
    }
}

/// The most likely format of a file that is not supported.
fn other_format(bytes: &[u8]) -> &'static str {
    /// Within these its first element begins, behind comments.
    const SVG_BYTES: usize = 2000;
    let known: [(usize, &[u8], &str); 17] = [
        (0, b"GIF8", "a GIF file"),
        (0, b"BM", "a BMP file"),
        (0, b"II*\0", "a TIFF or raw camera file"),
        (0, b"MM\0*", "a TIFF or raw camera file"),
        (0, b"\xff\x0a", "a JPEG XL file"),
        (0, b"\0\0\0\x0cJXL ", "a JPEG XL file"),
        (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
        (0, b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
        (0, b"8BPS", "a Photoshop file"),
        (0, b"\0\0\x01\0", "an icon file"),
        (0, b"%PDF", PDF),
        (0, b"\x76\x2f\x31\x01", "an OpenEXR file"),
        (4, b"ftypavi", "an AVIF file"),
        (4, b"ftyphei", "a HEIC file"),
        (4, b"ftypmif1", "a HEIC or AVIF file"),
        (4, b"ftyp", "a video file"),
        (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    ];
    let is_it = |at: usize, mark: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let found = known.iter().find(|(at, mark, _)| is_it(*at, mark));
    let text = bytes[..bytes.len().min(SVG_BYTES)].trim_ascii_start();
    let has_svg = text.starts_with(b"<") && text.windows(4).any(|tag| tag == b"<svg");
    // A web page may begin with one.
    let is_svg = has_svg
        && !text
            .windows(5)
            .any(|tag| tag.eq_ignore_ascii_case(b"<html"));
    let unknown = if is_svg { SVG } else { UNKNOWN };
    found.map_or(unknown, |&(_, _, what)| what)
}
