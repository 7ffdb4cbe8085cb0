//! Cases of images, frames and audio: the work of the host outside of networks.

use super::{
    GoldenCase, Tensors,
    rescale::{Interpolation, rescale},
};
use crate::{
    DType, Result, Tensor,
    media::{Image, crop_box, merge_windows, pcm16, preprocess, resample_441_512, to_u8},
    qualify::Check,
};

/// Tolerance of resampling in f64, relative.
const RESAMPLED: f64 = 1e-6;

/// `audio.resample_441_512`: `wave` `[512 n, channels]` to `[441 n, channels]`.
pub(super) fn resample(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let [_, channels] = extents(case, &tensors, "wave", DType::F32)?;
    let got = resample_441_512(&tensors.get("wave")?.to_f32(), channels);
    let check = tensors.relative_l2("resampled", &got, "ref64", RESAMPLED)?;
    Ok(vec![check])
}

/// `audio.merge_windows`: `windows` `[k, n, channels]` to one track. A merged value is two products and a sum in f32;
/// the tolerance allows these roundings on top of the reference's, which computes in f32 too.
pub(super) fn merge(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let [_, latents, channels] = extents(case, &tensors, "windows", DType::F32)?;
    let values = tensors.get("windows")?.to_f32();
    let windows: Vec<Vec<f32>> = values
        .chunks_exact(latents * channels)
        .map(<[f32]>::to_vec)
        .collect();
    let got = merge_windows(&windows, channels);
    let allowed = 3.0 * case.number(&["errors", "up_vs_ref64_rel"])?;
    Ok(vec![tensors.relative_l2("merged", &got, "ref64", allowed)?])
}

/// `audio.pcm16`: `wave` to signed 16-bit samples.
pub(super) fn to_pcm16(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let got: Vec<f32> = pcm16(&tensors.get("wave")?.to_f32())
        .into_iter()
        .map(f32::from)
        .collect();
    Ok(vec![exact("s16", &got, tensors.get("s16")?)])
}

/// `image.preprocess`: `image` `[height, width, 3]` cropped, resized and normalised.
pub(super) fn preprocess_image(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let [height, width] = picture(case, &tensors, "image")?;
    let [to_height, to_width] = picture(case, &tensors, "resized")?;
    let image = Image {
        name: case.name().into(),
        width,
        height,
        rgb: tensors.get("image")?.bytes().to_vec(),
        is_transparent: false,
    };
    let edges = crop_box(width, height, to_width, to_height);
    let x = preprocess(&image, to_width, to_height)?;
    Ok(vec![
        exact(
            "crop_box",
            &edges.map(|edge| edge as f32),
            tensors.get("crop_box")?,
        ),
        exact(
            "resized",
            &denormalised(&x.to_f32()),
            tensors.get("resized")?,
        ),
        exact("x", &x.to_f32(), tensors.get("x")?),
        exact(
            "x_bf16",
            &x.cast(DType::Bf16).to_f32(),
            tensors.get("x_bf16")?,
        ),
    ])
}

/// `video.to_u8`: `x` `[3, frames, height, width]` to bytes `[frames, height, width, 3]`.
pub(super) fn video_to_u8(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let [channels, frames, height, width] = extents(case, &tensors, "x", DType::F32)?;
    if channels != 3 {
        return Err(case.bad(format!("`x` must have 3 channels; found {channels}")));
    }
    let bytes = to_u8(&tensors.get("x")?.to_f32(), frames, height, width);
    Ok(vec![exact("u8", &floats(&bytes), tensors.get("u8")?)])
}

/// `video.rescale`: `frames` `[n, height, width, 3]` at another size, to within one level.
pub(super) fn rescale_video(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let [_, height, width] = frames(case, &tensors, "frames")?;
    let [_, to_height, to_width] = frames(case, &tensors, "out")?;
    let config: serde_json::Value = case.field("config")?;
    let mode = match config["mode"].as_str() {
        Some("nearest") => Interpolation::Nearest,
        Some("bilinear") => Interpolation::Bilinear,
        Some("bicubic") => Interpolation::Bicubic,
        other => return Err(case.bad(format!("`config.mode` is {other:?}"))),
    };
    let stored = tensors.get("frames")?;
    let got = floats(&rescale(
        stored.bytes(),
        [height, width],
        [to_height, to_width],
        mode,
    ));
    Ok(vec![tensors.max_abs("out", &got, "out", 1.0)?])
}

fn exact(what: &str, got: &[f32], want: &Tensor) -> Check {
    Check::max_abs(what, got, &want.to_f32(), 0.0)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().copied().map(f32::from).collect()
}

/// The bytes `[height, width, 3]` of a normalised image `[3, height, width]`.
fn denormalised(x: &[f32]) -> Vec<f32> {
    let pixels = x.len() / 3;
    let at = |i: usize| x[i % 3 * pixels + i / 3];
    (0..x.len())
        .map(|i| ((at(i) + 1.0) * 127.5).round())
        .collect()
}

/// The shape of a stored tensor that has rank N, type `dtype` and at least one element.
fn extents<const N: usize>(
    case: &GoldenCase<'_>,
    tensors: &Tensors,
    label: &str,
    dtype: DType,
) -> Result<[usize; N]> {
    let tensor = tensors.get(label)?;
    let fits = tensor.dtype() == dtype && tensor.count() > 0;
    tensor
        .shape()
        .extents()
        .try_into()
        .ok()
        .filter(|_| fits)
        .ok_or_else(|| {
            case.bad(format!(
                "`{label}` must be {dtype} with {N} axes; found {} {}",
                tensor.dtype(),
                tensor.shape()
            ))
        })
}

/// Frames, height and width of stored RGB frames.
fn frames(case: &GoldenCase<'_>, tensors: &Tensors, label: &str) -> Result<[usize; 3]> {
    match extents(case, tensors, label, DType::U8)? {
        [frames, height, width, 3] => Ok([frames, height, width]),
        other => Err(case.bad(format!("`{label}` must have 3 colours; found {other:?}"))),
    }
}

/// Height and width of a stored image.
fn picture(case: &GoldenCase<'_>, tensors: &Tensors, label: &str) -> Result<[usize; 2]> {
    match extents(case, tensors, label, DType::U8)? {
        [height, width, 3] => Ok([height, width]),
        other => Err(case.bad(format!("`{label}` must have 3 colours; found {other:?}"))),
    }
}
