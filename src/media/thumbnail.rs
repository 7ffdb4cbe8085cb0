//! One frame of a clip as a small image.

use super::{Clip, Image, output::AtomicFile, resize_lanczos};
use crate::{Error, Result};

/// Most pixels of the longer side.
const LONGER: usize = 512;

/// Writes the frame in the middle of `clip` to `file` as WebP without loss, made smaller if it is large.
///
/// # Errors
/// [`Error::Output`] if it cannot be written.
pub fn write_thumbnail(file: &mut AtomicFile, clip: &Clip<'_>) -> Result<()> {
    let bytes = 3 * clip.width * clip.height;
    let middle = clip.frames.len() / bytes / 2;
    let frame = Image {
        name: String::new(),
        width: clip.width,
        height: clip.height,
        rgb: clip.frames[middle * bytes..][..bytes].to_vec(),
        is_transparent: false,
    };
    let longer = clip.width.max(clip.height);
    let side = |extent: usize| (extent * LONGER.min(longer) / longer).max(1);
    let small = resize_lanczos(&frame, side(clip.width), side(clip.height));
    let mut webp = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut webp);
    let (width, height) = (small.width as u32, small.height as u32);
    encoder
        .encode(&small.rgb, width, height, image_webp::ColorType::Rgb8)
        .map_err(|e| Error::output(file.path(), format!("cannot be encoded: {e}")))?;
    file.write(&webp)
}
