//! Tensors of the reference, reproduced.

use std::{fs, path::Path};

use gallop::media::{
    Image, crop_box, merge_windows, pcm16, preprocess, resample_441_512, resize_lanczos, to_u8,
};
use gallop::{DType, Tensor};
use safetensors::SafeTensors;

/// Relative L2 error that a float64 resampling may have (spec: audio-vae 11).
const RESAMPLE_ERROR: f64 = 1e-6;
/// A merged value is two products and a sum in f32: three roundings.
const MERGE_ERROR: f64 = 2e-7;

/// The tensors of one case.
struct GoldenCase(Vec<u8>);

impl GoldenCase {
    fn open(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join(format!("tests/golden/vae/{name}.safetensors"));
        Self(fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    fn tensor(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::BF16 => DType::Bf16,
            safetensors::Dtype::U8 => DType::U8,
            safetensors::Dtype::I16 => DType::I16,
            safetensors::Dtype::I32 => DType::I32,
            other => panic!("{name} is {other:?}"),
        };
        Tensor::from_bytes(view.shape(), dtype, view.data())
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.tensor(name).to_f32().into_owned()
    }

    fn u8(&self, name: &str) -> Vec<u8> {
        self.tensor(name).bytes().to_vec()
    }
}

fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    let (error, size) = pairs.fold((0.0, 0.0), |(error, size), (&a, &b)| {
        let (a, b) = (f64::from(a), f64::from(b));
        (error + (a - b).powi(2), size + b * b)
    });
    (error / size).sqrt()
}

#[test]
fn pictures_are_cropped_resized_and_normalised_exactly() {
    for name in [
        "img_portrait",
        "img_landscape",
        "img_equal",
        "img_same_aspect",
        "img_square_up",
        "img_tie_narrow",
        "img_tie_wide",
    ] {
        let case = GoldenCase::open(name);
        let stored = case.tensor("image");
        let resized = case.tensor("resized");
        let (th, tw) = (resized.shape()[0], resized.shape()[1]);
        let image = Image {
            name: name.into(),
            width: stored.shape()[1],
            height: stored.shape()[0],
            rgb: stored.bytes().to_vec(),
            is_transparent: false,
        };
        let found = crop_box(image.width, image.height, tw, th).map(|edge| edge as i32);
        assert_eq!(found.as_slice(), case.tensor("crop_box").to_i32(), "{name}");
        let x = preprocess(&image, tw, th).unwrap();
        assert_eq!(x.to_f32(), case.tensor("x").to_f32(), "{name}: x");
        assert_eq!(
            x.cast(DType::Bf16).bytes(),
            case.tensor("x_bf16").bytes(),
            "{name}: x_bf16"
        );
    }
}

#[test]
fn a_picture_without_crop_is_resized_exactly() {
    let case = GoldenCase::open("img_same_aspect");
    let image = Image {
        name: "same aspect".into(),
        width: 128,
        height: 64,
        rgb: case.u8("image"),
        is_transparent: false,
    };
    assert_eq!(resize_lanczos(&image, 64, 32).rgb, case.u8("resized"));
}

#[test]
fn video_becomes_bytes_exactly() {
    let case = GoldenCase::open("to_u8");
    let x = case.tensor("x");
    let (frames, height, width) = (x.shape()[1], x.shape()[2], x.shape()[3]);
    let values = x.to_f32();
    assert_eq!(to_u8(&values, frames, height, width), case.u8("u8"));
}

#[test]
fn sound_becomes_pcm_exactly() {
    let case = GoldenCase::open("pcm16");
    let found = pcm16(&case.f32("wave"));
    assert_eq!(bytemuck::cast_slice::<i16, u8>(&found), case.u8("s16"));
}

#[test]
fn sound_is_resampled_by_441_512() {
    for name in ["resample_l3", "resample_l13"] {
        let case = GoldenCase::open(name);
        let found = resample_441_512(&case.f32("wave"), 2);
        let error = relative_l2(&found, &case.f32("ref64"));
        assert!(error <= RESAMPLE_ERROR, "{name}: {error:e}");
    }
}

#[test]
fn windows_are_merged() {
    for name in ["merge_odd", "merge_even"] {
        let case = GoldenCase::open(name);
        let windows = case.tensor("windows");
        let (n, channels) = (windows.shape()[1], windows.shape()[2]);
        let values = windows.to_f32();
        let list: Vec<Vec<f32>> = values
            .chunks_exact(n * channels)
            .map(<[f32]>::to_vec)
            .collect();
        let error = relative_l2(&merge_windows(&list, channels), &case.f32("ref64"));
        assert!(error <= MERGE_ERROR, "{name}: {error:e}");
    }
}
