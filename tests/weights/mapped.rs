//! Safetensors files, single and sharded, and the checks over a whole checkpoint.

use std::{fs, path::Path};

use gallop::{
    DType, Error, Shape, Tensor,
    weights::{
        Info, Safetensors, Source, TensorSpec, Weights, Writer, check_finite, safetensors::Header,
    },
};
use safetensors::SafeTensors;

use crate::scratch::{Scratch, assert_says, f32_bytes, refusal, safetensors, vectors};

fn parse(bytes: &[u8]) -> gallop::Result<Header> {
    Header::parse(Path::new("m.safetensors"), bytes, bytes.len() as u64)
}

fn f32_want(name: &str, extents: &[usize]) -> TensorSpec {
    TensorSpec::new(name, extents, DType::F32)
}

fn open(path: &Path) -> Weights {
    Weights::new(Box::new(Safetensors::open(path).unwrap()))
}

#[test]
fn a_written_file_is_read_back_and_by_the_format_s_own_reader() {
    let scratch = Scratch::new("roundtrip");
    let path = scratch.path().join("m.safetensors");
    let f32_tensor = Tensor::from_f32([2, 3], &[1.0, -2.0, 3.5, 0.0, 1e-30, 6.0]);
    let tensors = [
        ("a.weight", f32_tensor.clone()),
        ("b.half", f32_tensor.cast(DType::Bf16)),
        ("b.ids", Tensor::from_i32([2], &[7, -9])),
        ("c.none", Tensor::from_f32([0, 4], &[])),
        ("d.scalar", Tensor::from_f32([0; 0], &[2.5])),
        ("e.bytes", Tensor::from_u8([3], &[1, 2, 255])),
    ];
    let infos: Vec<Info> = tensors
        .iter()
        .map(|(_, tensor)| Info {
            shape: tensor.shape().clone(),
            dtype: tensor.dtype(),
        })
        .collect();
    let names = tensors.iter().map(|(name, _)| *name);
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend(bytes);
        Ok(())
    };
    let mut writer = Writer::new(names.zip(&infos), None, &mut sink).unwrap();
    for (_, tensor) in &tensors {
        writer.write(tensor.bytes()).unwrap();
    }
    writer.finish();
    fs::write(&path, file).unwrap();

    let source = Safetensors::open(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(source.names().len(), tensors.len());
    for (name, tensor) in &tensors {
        let read = source.load(name).unwrap();
        assert_eq!(read.bytes(), tensor.bytes(), "{name}");
        assert_eq!(read.shape(), tensor.shape(), "{name}");
        assert_eq!(read.dtype(), tensor.dtype(), "{name}");
        assert_eq!(
            theirs.tensor(name).unwrap().data(),
            tensor.bytes(),
            "{name}"
        );
    }
}

#[test]
fn a_writer_hands_on_what_its_sink_says() {
    let info = Info {
        shape: Shape::from([4]),
        dtype: DType::F32,
    };
    let mut left = 1;
    let mut sink = |bytes: &[u8]| match left {
        0 => Err(Error::output("m.safetensors", "no more")),
        _ if bytes.len() == 8 => Ok(()),
        _ => {
            left -= 1;
            Ok(())
        }
    };
    let mut writer = Writer::new([("a", &info)], None, &mut sink).unwrap();
    assert_eq!(writer.write(&[0; 8]).unwrap_err().exit_code(), 6);
}

fn assert_refused(cases: &[(Vec<u8>, &[&str])]) {
    for (bytes, words) in cases {
        let message = refusal(parse(bytes));
        assert_says(&message, &["m.safetensors: "]);
        assert_says(&message, words);
    }
}

/// The header's entry of an f32 tensor.
fn entry(shape: &str, start: u64, end: u64) -> String {
    format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

/// A file of the tensors `a` and `b` with this many bytes of data.
fn two(a: &str, b: &str, bytes: usize) -> Vec<u8> {
    safetensors(&format!(r#"{{"a":{a},"b":{b}}}"#), &vec![0; bytes])
}

#[test]
fn files_of_a_wrong_length_are_refused() {
    let good = two(&entry("[2]", 0, 8), &entry("[1]", 8, 12), 12);
    parse(&good).unwrap();
    let longer = [&good[..], &[0]].concat();
    let huge = [&(1_u64 << 60).to_le_bytes()[..], b"{}"].concat();
    assert_refused(&[
        (
            good[..good.len() - 1].to_vec(),
            &["is cut off", "12 bytes", "has 11"],
        ),
        (longer, &["is too long", "12 bytes", "has 13"]),
        (good[..40].to_vec(), &["cut off inside its header"]),
        (good[..7].to_vec(), &["not a safetensors file", "7 bytes"]),
        (Vec::new(), &["not a safetensors file"]),
        (huge, &["1152921504606846976 bytes", "100000000"]),
        (u64::MAX.to_le_bytes().to_vec(), &["18446744073709551615"]),
    ]);
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let one = |shape: &str, start: u64, end: u64, bytes: usize| {
        let entry = entry(shape, start, end);
        safetensors(&format!(r#"{{"a":{entry}}}"#), &vec![0; bytes])
    };
    assert_refused(&[
        (
            two(&entry("[2]", 0, 8), &entry("[1]", 4, 8), 8),
            &["`b`", "overlaps", "starts at byte 4, must start at 8"],
        ),
        (
            two(&entry("[2]", 0, 8), &entry("[1]", 12, 16), 16),
            &["`b`", "hole", "starts at byte 12, must start at 8"],
        ),
        (one("[1]", 8, 4, 4), &["`a`", "byte 4, before its start 8"]),
        (one("[3]", 0, 8, 8), &["`a`", "12 bytes", "8 bytes"]),
        (
            one("[4294967296,4294967296]", 0, 8, 8),
            &["`a`", "too large", "4294967296"],
        ),
        (
            one("[18446744073709551615,2,0]", 0, 0, 0),
            &["`a`", "too large"],
        ),
        (one("[1]", 0, u64::MAX, 4), &["cut off"]),
        (one("[-1]", 0, 4, 4), &["damaged header", "line 1"]),
        (one("[1.5]", 0, 4, 4), &["damaged header"]),
    ]);
}

#[test]
fn headers_that_are_no_map_of_tensors_are_refused() {
    let twice = format!(r#"{{"a":{0},"a":{0}}}"#, entry("[1]", 0, 4));
    let double_field = r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let not_text = [&2_u64.to_le_bytes()[..], b"\xff\xfe"].concat();
    assert_refused(&[
        (safetensors(&twice, &[0; 4]), &["`a` occurs twice"]),
        (
            safetensors(double_field, &[0; 4]),
            &["duplicate field `dtype`"],
        ),
        (
            safetensors("[1, 2]", &[]),
            &["damaged header", "object of tensors"],
        ),
        (safetensors("{\"a\": \u{1}", &[]), &["damaged header"]),
        (not_text, &["damaged header", "utf-8"]),
    ]);
}

#[test]
fn metadata_and_trailing_blanks_are_fine_and_a_wrong_file_length_is_not() {
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   "#;
    let bytes = safetensors(header, &f32_bytes(&[1.0]));
    assert_eq!(parse(&bytes).unwrap().entries().len(), 1);
    // The parser may be given the beginning of the file alone.
    let start = &bytes[..bytes.len() - 4];
    let path = Path::new("m.safetensors");
    Header::parse(path, start, bytes.len() as u64).unwrap();
    refusal(Header::parse(path, start, 8));
}

#[test]
fn types_we_do_not_have_matter_only_when_asked_for() {
    let scratch = Scratch::new("types");
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "b":{"dtype":"I64","shape":[2],"data_offsets":[4,20]},
        "c":{"dtype":"Q3_X","shape":[7],"data_offsets":[20,23]}}"#;
    let path = scratch.file("m.safetensors", &safetensors(header, &[0; 23]));
    let weights = open(&path);
    weights.check(&[f32_want("a", &[1])]).unwrap();
    assert_says(
        &refusal(weights.check(&[f32_want("b", &[2])])),
        &["`b`", "I64", "F32"],
    );
    assert_says(
        &refusal(weights.load(&f32_want("c", &[7]))),
        &["`c`", "Q3_X"],
    );
}

#[test]
fn a_checkpoint_is_checked_as_a_whole() {
    let scratch = Scratch::new("whole");
    let a: &[f32] = &[1.0, 2.0];
    let path = scratch.file("m.safetensors", &vectors(&[("a", a), ("b", a), ("c", a)]));
    let weights = open(&path);
    let [a, b, c] = ["a", "b", "c"].map(|name| f32_want(name, &[2]));
    let all = [a.clone(), b.clone(), c];
    weights.check(&all).unwrap();
    weights.check_nothing_left(&all).unwrap();
    assert_eq!(weights.load(&a).unwrap().to_f32().as_ref(), &[1.0, 2.0]);

    let message = refusal(weights.check_nothing_left(std::slice::from_ref(&a)));
    assert_says(&message, &["m.safetensors", "2 tensors", "`b`, `c`"]);

    let missing: Vec<TensorSpec> = (0..20)
        .map(|i| f32_want(&format!("layer.{i:02}"), &[2]))
        .chain([a])
        .collect();
    let message = refusal(weights.check(&missing));
    assert_says(
        &message,
        &["lacks 20 tensors `layer.00`", "`layer.11` and 8 more"],
    );

    let message = refusal(weights.check(&[f32_want("b", &[1, 2])]));
    assert_says(&message, &["`b` must be f32 [1, 2]; found f32 [2]"]);
    assert_says(
        &refusal(weights.load(&f32_want("x", &[2]))),
        &["`x`", "missing"],
    );
}

#[test]
fn stored_types_are_those_that_will_do() {
    let scratch = Scratch::new("stored");
    let header = r#"{"f":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},
        "h":{"dtype":"F16","shape":[2],"data_offsets":[12,16]},
        "i":{"dtype":"I32","shape":[1],"data_offsets":[16,20]}}"#;
    let path = scratch.file("m.safetensors", &safetensors(header, &[0; 20]));
    let strict = open(&path);
    let loose = open(&path).accepting_any_float();
    let cases = [
        ("f", DType::F32, true, true),
        ("f", DType::Bf16, true, true),
        ("b", DType::Bf16, true, true),
        ("b", DType::F32, false, true),
        ("h", DType::Bf16, false, true),
        ("h", DType::F32, false, true),
    ];
    for (name, used, by_strict, by_loose) in cases {
        let want = TensorSpec::new(name, [2], used);
        assert_eq!(
            strict.check(std::slice::from_ref(&want)).is_ok(),
            by_strict,
            "{name} {used}"
        );
        assert_eq!(loose.check(&[want]).is_ok(), by_loose, "{name} {used}");
    }
    refusal(loose.check(&[f32_want("i", &[1])]));
    let message = refusal(strict.check(&[TensorSpec::new("h", [2], DType::Bf16)]));
    assert_says(&message, &["`h` must be bf16 [2]; found f16 [2]"]);
    let stored = strict
        .load(&TensorSpec::new("f", [2], DType::Bf16))
        .unwrap();
    assert_eq!(stored.dtype(), DType::F32, "the caller rounds");
}

#[test]
fn a_table_may_have_rows_to_spare() {
    let scratch = Scratch::new("rows");
    let header = r#"{"t":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#;
    let data = f32_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let path = scratch.file("m.safetensors", &safetensors(header, &data));
    refusal(open(&path).check(&[f32_want("t", &[2, 2])]));
    let weights = open(&path).allowing_more_rows("t");
    let table = weights.load(&f32_want("t", &[2, 2])).unwrap();
    assert_eq!(table.shape(), &Shape::from([2, 2]));
    assert_eq!(table.to_f32().as_ref(), &[1.0, 2.0, 3.0, 4.0]);
    weights.check(&[f32_want("t", &[3, 2])]).unwrap();
    assert_says(
        &refusal(weights.check(&[f32_want("t", &[4, 2])])),
        &["of at least [4, 2]"],
    );
    refusal(weights.check(&[f32_want("t", &[2, 3])]));
}

#[test]
fn damaged_numbers_are_named() {
    let path = Path::new("m.safetensors");
    let mut values = vec![1.0_f32; 200_000];
    let good = Tensor::from_f32([400, 500], &values);
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        check_finite(path, "w", &good.cast(dtype)).unwrap();
    }
    check_finite(path, "w", &Tensor::from_f32([2], &[f32::MAX, f32::MIN])).unwrap();
    values[150_001] = f32::NAN;
    values[170_000] = f32::NEG_INFINITY;
    let bad = Tensor::from_f32([400, 500], &values);
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let message = refusal(check_finite(path, "w", &bad.cast(dtype)));
        assert_says(
            &message,
            &["m.safetensors: `w`", "NaN", "element 150001 of [400, 500]"],
        );
    }

    let scratch = Scratch::new("nan");
    let path = scratch.file("m.safetensors", &vectors(&[("a", &[1.0, f32::INFINITY])]));
    let weights = open(&path);
    assert_eq!(
        weights.first_not_finite(&f32_want("a", &[2])).unwrap(),
        Some(1)
    );
}

fn index(pairs: &[(&str, &str)]) -> String {
    let map: Vec<String> = pairs
        .iter()
        .map(|(t, f)| format!(r#""{t}":"{f}""#))
        .collect();
    format!(
        r#"{{"metadata":{{"total_size":8}},"weight_map":{{{}}}}}"#,
        map.join(",")
    )
}

#[test]
fn shards_are_one_name_space_and_only_wanted_ones_must_exist() {
    let scratch = Scratch::new("shards");
    scratch.file("m-1.safetensors", &vectors(&[("a", &[1.0])]));
    scratch.file("m-2.safetensors", &vectors(&[("b", &[2.0])]));
    let pairs = [
        ("a", "m-1.safetensors"),
        ("b", "m-2.safetensors"),
        ("lost", "m-2.safetensors"),
        ("z", "m-3.safetensors"),
    ];
    scratch.file("model.safetensors.index.json", index(&pairs).as_bytes());
    let weights = open(scratch.path());
    let [a, b, lost, z] = ["a", "b", "lost", "z"].map(|name| f32_want(name, &[1]));
    weights.check(&[a, b.clone()]).unwrap();
    assert_eq!(weights.load(&b).unwrap().to_f32().as_ref(), &[2.0]);
    assert!(weights.path("b").ends_with("m-2.safetensors"));
    assert_says(
        &refusal(weights.check(&[z])),
        &["m-3.safetensors", "missing", "`z`"],
    );
    assert_says(
        &refusal(weights.check(&[lost])),
        &["m-2.safetensors", "`lost`", "index"],
    );
}

#[test]
fn folders_without_one_clear_checkpoint_are_refused() {
    let scratch = Scratch::new("choice");
    assert_says(
        &refusal(Safetensors::open(scratch.path())),
        &["holds no *.safetensors"],
    );
    scratch.file("m.safetensors", &vectors(&[("a", &[1.0])]));
    open(scratch.path()).check(&[f32_want("a", &[1])]).unwrap();
    scratch.file("n.safetensors", &vectors(&[("a", &[1.0])]));
    assert_says(
        &refusal(Safetensors::open(scratch.path())),
        &["2 *.safetensors files", "no index"],
    );
    let missing = scratch.path().join("nothing.safetensors");
    assert_says(
        &refusal(Safetensors::open(&missing)),
        &["nothing.safetensors", "cannot be read"],
    );
    let empty = scratch.file("empty.safetensors", b"");
    assert_says(&refusal(Safetensors::open(&empty)), &["empty"]);

    for (text, words) in [
        (
            index(&[("a", "../m.safetensors")]),
            vec!["`a`", "beside the index", "../m.safetensors"],
        ),
        (index(&[("a", "/etc/passwd")]), vec!["`a`", "/etc/passwd"]),
        (
            index(&[("a", "m.safetensors"), ("a", "n.safetensors")]),
            vec!["`a` occurs twice"],
        ),
        (
            "{\n\"weight_map\": 3}".to_string(),
            vec!["not an index", "line 2"],
        ),
        ("{}".to_string(), vec!["weight_map"]),
    ] {
        scratch.file(
            "diffusion_pytorch_model.safetensors.index.json",
            text.as_bytes(),
        );
        assert_says(&refusal(Safetensors::open(scratch.path())), &words);
    }
}
