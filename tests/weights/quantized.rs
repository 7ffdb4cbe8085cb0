//! Quantised layers: rounded as they are loaded, or stored so.

use std::path::Path;

use gallop::{
    DType, Tensor,
    tensor::{Format, LayerFormats},
    weights::{Info, Origin, Safetensors, TensorSpec, Weights, Writer, check_finite, quantized},
};

use crate::scratch::{Scratch, assert_says, refusal};

/// A file of these tensors.
fn write(path: &Path, tensors: &[(&str, Tensor)]) {
    let infos = tensors.iter().map(|(_, tensor)| Info {
        shape: tensor.shape().clone(),
        dtype: tensor.dtype(),
    });
    let infos: Vec<Info> = infos.collect();
    let names = tensors.iter().map(|(name, _)| *name);
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend(bytes);
        Ok(())
    };
    let mut writer = Writer::new(names.zip(&infos), None, &mut sink).unwrap();
    for (_, tensor) in tensors {
        writer.write(tensor.bytes()).unwrap();
    }
    writer.finish();
    std::fs::write(path, file).unwrap();
}

/// The tensors as weights, layer `a` in FP8.
fn weights(scratch: &Scratch, name: &str, tensors: &[(&str, Tensor)]) -> Weights {
    let path = scratch.path().join(name);
    write(&path, tensors);
    let source = Box::new(Safetensors::open(&path).unwrap());
    Weights::new(source).quantized(LayerFormats::from([("a".into(), Format::FP8)]))
}

fn matrix() -> Tensor {
    let values: Vec<f32> = (0..3 * 5_i16).map(|i| f32::from(i - 4) * 0.37).collect();
    let mut values = values;
    values[5..10].fill(0.0);
    Tensor::from_f32([3, 5], &values)
}

const WEIGHT: &str = "a.weight";
const SCALE: &str = "a.weight_scale";

fn required_tensors() -> [TensorSpec; 2] {
    [
        TensorSpec::new(WEIGHT, [3, 5], DType::E4m3),
        TensorSpec::new(SCALE, [1, 3], DType::F32),
    ]
}

#[test]
fn layers_are_rounded_as_they_are_loaded_and_stored_ones_are_the_same() {
    let scratch = Scratch::new("quantized");
    let full = matrix().cast(DType::Bf16);
    let made = weights(&scratch, "bf16", &[(WEIGHT, full.clone())]);
    made.check(&required_tensors()).unwrap();
    made.check_nothing_left(&required_tensors()).unwrap();
    let [values, scales] = required_tensors().map(|want| made.load(&want).unwrap());
    let rows = full.to_f32();
    for ((row, values), &scale) in rows
        .chunks(5)
        .zip(values.to_f32().chunks(5))
        .zip(scales.to_f32().iter())
    {
        let largest = row.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
        assert_eq!(scale, if largest == 0.0 { 1.0 } else { largest / 448.0 });
        for (v, value) in row.iter().zip(values) {
            assert_eq!(*value, DType::E4m3.round(v * (1.0 / scale)));
        }
    }
    for want in required_tensors() {
        let Origin::Quantized(original) = made.origin(&want).unwrap() else {
            panic!("{} is not rounded as it is loaded", want.name)
        };
        let Origin::Stored(whole) = *original else {
            panic!("what {} is rounded from is not stored", want.name)
        };
        assert_eq!((whole.dtype(), whole.bytes()), (DType::Bf16, full.bytes()));
    }
    // Stored as f32 it is rounded to bf16 on the way.
    let wide = weights(&scratch, "f32", &[(WEIGHT, matrix())]);
    let packed = weights(&scratch, "packed", &[(WEIGHT, values), (SCALE, scales)]);
    for (want, name) in required_tensors().iter().zip([WEIGHT, SCALE]) {
        let bytes = made.load(want).unwrap();
        assert_eq!(wide.load(want).unwrap().bytes(), bytes.bytes());
        assert_eq!(packed.load(want).unwrap().bytes(), bytes.bytes());
        let origin = packed.origin(want).unwrap();
        assert!(matches!(origin, Origin::Stored(stored) if stored.bytes() == bytes.bytes()));
        assert!(packed.path(name).ends_with("packed"));
    }
    let bf16 = vec![TensorSpec::new(WEIGHT, [3, 5], DType::Bf16)];
    assert_eq!(
        quantized::stored_specs(bf16.clone(), packed.source()),
        required_tensors()
    );
    assert_eq!(
        quantized::unquantized_specs(required_tensors().to_vec()).0,
        bf16
    );
}

#[test]
fn damaged_layers_are_refused_by_name() {
    let scratch = Scratch::new("quantized-damaged");
    let [values, scales] = [quantized::values, quantized::scales].map(|of| of(&matrix()));
    let scale = |third: f32| Tensor::from_f32([1, 3], &[1.0, 2.0, third]);
    let check = |name: &str, tensors: &[(&str, Tensor)]| {
        let weights = weights(&scratch, name, tensors);
        weights.check(&required_tensors())?;
        for want in required_tensors() {
            let tensor = weights.load(&want)?;
            check_finite(&weights.path(&want.name), &want.name, &tensor)?;
        }
        Ok(())
    };
    let pair = |values: &Tensor, scales: Tensor| [(WEIGHT, values.clone()), (SCALE, scales)];
    check("good", &pair(&values, scales.clone())).unwrap();
    for (name, bad) in [
        ("zero", 0.0),
        ("below", -1.0),
        ("nan", f32::NAN),
        ("inf", f32::INFINITY),
    ] {
        let problem = refusal(check(name, &pair(&values, scale(bad))));
        assert_says(&problem, &[name, SCALE, "positive", "element 2"]);
    }
    let problem = refusal(check("flat", &pair(&values, scales.reshape([3]))));
    assert_says(&problem, &["flat", SCALE, "[1, 3]", "[3]"]);
    let problem = refusal(check("narrow", &pair(&values, scales.cast(DType::Bf16))));
    assert_says(&problem, &["narrow", SCALE, "f32", "bf16"]);
    let problem = refusal(check("alone", &[(WEIGHT, values.clone())]));
    assert_says(&problem, &["alone", SCALE, "lacks"]);
    for byte in [0x7f, 0xff] {
        let mut bytes = values.bytes().to_vec();
        bytes[7] = byte;
        let bytes = Tensor::from_bytes([3, 5], DType::E4m3, &bytes);
        let problem = refusal(check("bytes", &pair(&bytes, scales.clone())));
        assert_says(&problem, &["bytes", WEIGHT, "NaN", "element 7"]);
    }
    // What is rounded must be sound as well, and of a type that can be.
    let mut endless = matrix().to_f32().into_owned();
    endless[11] = f32::INFINITY;
    let endless = Tensor::from_f32([3, 5], &endless);
    let problem = refusal(check("endless", &[(WEIGHT, endless)]));
    assert_says(&problem, &["endless", WEIGHT, "element 11"]);
    let half = matrix().cast(DType::F16);
    let problem = refusal(check("half", &[(WEIGHT, half)]));
    assert_says(&problem, &["half", WEIGHT, "e4m3", "f16"]);
}
