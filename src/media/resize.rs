//! From an image to the input of the video encoder: crop to the aspect ratio, resize, normalise.
//!
//! The arithmetic is that of Pillow's `Image.resize` (`src/libImaging/Resample.c`), bit for bit: each edge of the crop
//! is rounded to the nearest integer, ties to even; filter weights have 22 fraction bits; the horizontal pass is
//! rounded to 8 bits before the vertical one. Reference: `pipeline/video_process.py`, `resizecrop`.

use std::f64::consts::PI;

use rayon::prelude::*;

use crate::{Error, Result, Tensor};

use super::image::Image;

/// Lobes of the Lanczos filter on each side.
const RADIUS: f64 = 3.0;
/// Fraction bits of a filter weight.
const WEIGHT_BITS: u32 = 22;

/// `image` cropped to the aspect ratio of `tw` x `th` (width and height in pixels) and resized: f32 `[3, th, tw]` in
/// [-1, 1], not yet rounded to bf16.
///
/// # Errors
/// [`Error::Input`] if the image is so small or narrow that the crop is empty.
pub fn preprocess(image: &Image, tw: usize, th: usize) -> Result<Tensor> {
    let [left, top, right, bottom] = crop_box(image.width, image.height, tw, th);
    if left >= right || top >= bottom {
        return Err(Error::input(
            &image.name,
            format!(
                "is {}x{}; cropping it to the aspect of {tw}x{th} leaves no pixel, use a larger picture",
                image.width, image.height
            ),
        ));
    }
    let resized = resize_lanczos(&crop(image, [left, top, right, bottom]), tw, th);
    let pixels = tw * th;
    let mut x = vec![0.0_f32; 3 * pixels];
    for (i, &value) in resized.rgb.iter().enumerate() {
        x[i % 3 * pixels + i / 3] = 2.0 * (f32::from(value) / 255.0) - 1.0;
    }
    Ok(Tensor::from_f32([3, th, tw], &x))
}

/// The part of a `w` x `h` image with the aspect ratio of `tw` x `th`: left, top, right, bottom in pixels, the last
/// two exclusive. Rounding each edge may make it one pixel narrower or wider than the exact crop, and empty for an
/// image of a few pixels.
pub fn crop_box(w: usize, h: usize, tw: usize, th: usize) -> [usize; 4] {
    if (w, h) == (tw, th) {
        return [0, 0, w, h];
    }
    let (width, height, target_w, target_h) = (w as f64, h as f64, tw as f64, th as f64);
    let (cw, ch) = if height / width > target_h / target_w {
        (width, (width * target_h / target_w).trunc())
    } else {
        ((height * target_w / target_h).trunc(), height)
    };
    [
        (width - cw) / 2.0,
        (height - ch) / 2.0,
        (width + cw) / 2.0,
        (height + ch) / 2.0,
    ]
    .map(|edge| edge.round_ties_even() as usize)
}

/// RGB frames u8 `[frames, height, width, 3]` enlarged to `[frames, scale height, scale width, 3]` by the filter of
/// [`resize_lanczos`].
pub fn enlarge(frames: &[u8], (width, height): (usize, usize), scale: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(frames.len() * scale * scale);
    for frame in frames.chunks_exact(3 * width * height) {
        let wide = resize_rows(frame, width, scale * width);
        out.extend(resize_columns(
            &wide,
            3 * scale * width,
            height,
            scale * height,
        ));
    }
    out
}

/// The pixels of `image` inside `[left, top, right, bottom]`.
fn crop(image: &Image, [left, top, right, bottom]: [usize; 4]) -> Image {
    let row_bytes = 3 * image.width;
    let rgb = image.rgb[top * row_bytes..bottom * row_bytes]
        .chunks_exact(row_bytes)
        .flat_map(|row| &row[3 * left..3 * right])
        .copied()
        .collect();
    Image {
        name: image.name.clone(),
        width: right - left,
        height: bottom - top,
        rgb,
        is_transparent: image.is_transparent,
    }
}

/// `image` resampled to u8 `[th, tw, 3]` by the antialiased Lanczos filter of radius 3, horizontally first, 8 bits
/// between the passes. A pass that keeps the extent is skipped.
///
/// # Panics
/// If one of the four extents is zero.
pub fn resize_lanczos(image: &Image, tw: usize, th: usize) -> Image {
    assert!(
        image.width > 0 && image.height > 0 && tw > 0 && th > 0,
        "resize {}x{} to {tw}x{th}",
        image.width,
        image.height
    );
    let wide = if tw == image.width {
        image.rgb.clone()
    } else {
        resize_rows(&image.rgb, image.width, tw)
    };
    let rgb = if th == image.height {
        wide
    } else {
        resize_columns(&wide, 3 * tw, image.height, th)
    };
    Image {
        name: image.name.clone(),
        width: tw,
        height: th,
        rgb,
        is_transparent: image.is_transparent,
    }
}

/// Each row of `width` RGB pixels resampled to `tw` pixels.
fn resize_rows(rgb: &[u8], width: usize, tw: usize) -> Vec<u8> {
    let taps = filter(width, tw);
    let rows = rgb.len() / (3 * width);
    let mut out = vec![0; rows * 3 * tw];
    out.par_chunks_mut(3 * tw)
        .zip(rgb.par_chunks(3 * width))
        .for_each(|(to, from)| {
            for (pixel, tap) in to.chunks_exact_mut(3).zip(&taps) {
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let samples = from[3 * tap.first + channel..].iter().step_by(3);
                    *value = tap.apply(samples);
                }
            }
        });
    out
}

/// `height` rows of `row_bytes` bytes resampled to `th` rows.
fn resize_columns(rgb: &[u8], row_bytes: usize, height: usize, th: usize) -> Vec<u8> {
    let taps = filter(height, th);
    let mut out = vec![0; th * row_bytes];
    out.par_chunks_mut(row_bytes)
        .zip(&taps)
        .for_each(|(to, tap)| {
            let from = &rgb[tap.first * row_bytes..];
            for (column, value) in to.iter_mut().enumerate() {
                *value = tap.apply(from[column..].iter().step_by(row_bytes));
            }
        });
    out
}

/// The inputs of one output: consecutive samples from `first` on, and their weights.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

impl Tap {
    fn apply<'a>(&self, samples: impl Iterator<Item = &'a u8>) -> u8 {
        let half = 1 << (WEIGHT_BITS - 1);
        let sum = samples
            .zip(&self.weights)
            .fold(half, |sum, (&v, &q)| sum + i32::from(v) * q);
        (sum >> WEIGHT_BITS).clamp(0, 255) as u8
    }
}

/// The taps that resample `n` samples to `m`.
fn filter(n: usize, m: usize) -> Vec<Tap> {
    let scale = n as f64 / m as f64;
    let stretch = scale.max(1.0);
    let support = RADIUS * stretch;
    let tap = |i: usize| {
        let center = (i as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(n);
        let raw: Vec<f64> = (0..end - first)
            .map(|j| lanczos(((j + first) as f64 - center + 0.5) * (1.0 / stretch)))
            .collect();
        let sum: f64 = raw.iter().sum();
        let one = f64::from(1 << WEIGHT_BITS);
        let weights = raw
            .iter()
            .map(|k| k / sum)
            .map(|k| (k * one + if k < 0.0 { -0.5 } else { 0.5 }) as i32)
            .collect();
        Tap { first, weights }
    };
    (0..m).map(tap).collect()
}

fn lanczos(x: f64) -> f64 {
    if (-RADIUS..RADIUS).contains(&x) {
        sinc(x) * sinc(x / RADIUS)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}
