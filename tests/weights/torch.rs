//! Torch files: views of every kind, and files that mean harm.

use std::{collections::BTreeMap, path::Path};

use gallop::{
    DType, Shape,
    weights::{Info, Source, TensorSpec, TorchFile, Weights, torch_zip},
};

use crate::{
    scratch::{Scratch, assert_says, refusal},
    torch_writer::{Form, Pickle, View, torch_file, vector, zip},
};

fn parse(bytes: &[u8]) -> gallop::Result<BTreeMap<String, torch_zip::TorchEntry>> {
    torch_zip::parse(Path::new("m.ckpt"), bytes, Some("ema_state_dict"))
}

fn open(bytes: &[u8], name: &str) -> TorchFile {
    let scratch = Scratch::new(name);
    let path = scratch.file("m.ckpt", bytes);
    // The mapping outlives the name.
    TorchFile::open(&path, Some("ema_state_dict")).unwrap()
}

const MATRIX: View<'static> = View {
    class: "FloatStorage",
    key: "0",
    count: 6,
    offset: 0,
    sizes: &[2, 3],
    strides: &[3, 1],
};

fn view<'a>(sizes: &'a [i64], strides: &'a [i64], offset: i64) -> View<'a> {
    View {
        sizes,
        strides,
        offset,
        ..MATRIX
    }
}

const VALUES: &[f32] = &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0];

fn one(view: View<'_>) -> Vec<u8> {
    let pickle = Pickle::new().state_dict(&[("w", view)]).stop();
    torch_file(&pickle, &[VALUES])
}

#[test]
fn views_are_read_in_order() {
    let views = [
        ("whole", MATRIX),
        ("transposed", view(&[3, 2], &[1, 3], 0)),
        ("column", view(&[2], &[3], 1)),
        ("row", view(&[3], &[1], 3)),
        ("scalar", view(&[], &[], 5)),
        ("none", view(&[0, 3], &[3, 1], 0)),
        ("ones", view(&[1, 6, 1], &[77, 1, 99], 0)),
        ("expanded", view(&[2, 2], &[0, 1], 2)),
    ];
    let file = open(
        &torch_file(&Pickle::new().state_dict(&views).stop(), &[VALUES]),
        "views",
    );
    let expected: [(&str, &[usize], &[f32]); 8] = [
        ("whole", &[2, 3], VALUES),
        ("transposed", &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        ("column", &[2], &[1.0, 4.0]),
        ("row", &[3], &[3.0, 4.0, 5.0]),
        ("scalar", &[], &[5.0]),
        ("none", &[0, 3], &[]),
        ("ones", &[1, 6, 1], VALUES),
        ("expanded", &[2, 2], &[2.0, 3.0, 2.0, 3.0]),
    ];
    assert_eq!(
        file.names().len(),
        expected.len(),
        "`_metadata` is no tensor"
    );
    for (name, shape, values) in expected {
        let tensor = file.load(name).unwrap();
        assert_eq!(tensor.shape(), &Shape::from(shape), "{name}");
        assert_eq!(tensor.to_f32().as_ref(), values, "{name}");
    }
}

#[test]
fn element_types_are_torch_s() {
    let classes = [
        ("BFloat16Storage", Some(DType::Bf16), 2),
        ("HalfStorage", Some(DType::F16), 2),
        ("FloatStorage", Some(DType::F32), 4),
        ("ByteStorage", Some(DType::U8), 1),
        ("ShortStorage", Some(DType::I16), 2),
        ("IntStorage", Some(DType::I32), 4),
        ("DoubleStorage", None, 8),
    ];
    for (class, dtype, size) in classes {
        let view = View {
            class,
            count: 24 / size,
            sizes: &[2],
            strides: &[1],
            offset: 1,
            ..MATRIX
        };
        let file = open(&one(view), "types");
        let info = dtype.map(|dtype| Info {
            shape: Shape::from([2]),
            dtype,
        });
        assert_eq!(file.info("w"), info, "{class}");
        match dtype {
            Some(_) => assert_eq!(file.load("w").unwrap().count(), 2, "{class}"),
            None => assert_says(&refusal(file.load("w")), &["`w`", class]),
        }
    }
    // 1.0 as bf16 is 0x3f80, the upper half of the f32 in the storage.
    let view = View {
        class: "BFloat16Storage",
        count: 12,
        sizes: &[1],
        strides: &[1],
        offset: 3,
        ..MATRIX
    };
    assert_eq!(
        open(&one(view), "bf16")
            .load("w")
            .unwrap()
            .to_f32()
            .as_ref(),
        &[1.0]
    );
}

#[test]
fn training_checkpoints_are_read_by_key_and_other_classes_are_inert() {
    let mut pickle = Pickle::new();
    pickle.op(b"}(").text("epoch").int(3);
    pickle
        .text("optimizer")
        .global("torch.optim.adamw", "AdamW")
        .op(b")\x81}");
    pickle
        .text("lr")
        .op(b"G")
        .op(&0.1_f64.to_be_bytes())
        .op(b"sb");
    pickle
        .text("seen")
        .op(b"](")
        .int(70_000)
        .int(-5)
        .int(1 << 40)
        .op(b"e");
    pickle
        .text("ema_state_dict")
        .state_dict(&[("module.decoder.w", vector("0", &[6]))]);
    pickle
        .text("nothing")
        .op(b"N")
        .text("state_dict")
        .state_dict(&[("w", MATRIX)]);
    let bytes = torch_file(&pickle.op(b"u").stop(), &[VALUES]);
    let file = open(&bytes, "training");
    assert_eq!(file.names(), ["module.decoder.w"]);

    // A parameter is its tensor.
    let mut pickle = Pickle::new();
    pickle
        .op(b"}")
        .text("p")
        .global("torch._utils", "_rebuild_parameter")
        .op(b"(");
    pickle.tensor(&MATRIX).op(b"\x88)tRs");
    let file = open(&torch_file(&pickle.stop(), &[VALUES]), "parameter");
    assert_eq!(file.load("p").unwrap().to_f32().as_ref(), VALUES);
}

#[test]
fn zip64_and_plain_directories_are_the_same_file() {
    let pickle = Pickle::new().state_dict(&[("w", MATRIX)]).stop();
    let members = [
        ("x/data.pkl".to_string(), pickle),
        ("x/data/0".to_string(), crate::scratch::f32_bytes(VALUES)),
    ];
    for is_zip64 in [false, true] {
        let bytes = zip(
            &members,
            Form {
                is_zip64,
                ..Form::default()
            },
        );
        let weights = Weights::new(Box::new(open(&bytes, "zip64")));
        let want = TensorSpec::new("w", [2, 3], DType::F32);
        assert_eq!(weights.load(&want).unwrap().to_f32().as_ref(), VALUES);
    }
}

#[test]
fn pickles_that_call_something_call_nothing() {
    let target = Scratch::new("call");
    let proof = target.path().join("ran");
    let command = format!("touch {}", proof.display());
    for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval")] {
        // As the whole value.
        let mut pickle = Pickle::new();
        pickle
            .global(module, name)
            .op(b"(")
            .text(&command)
            .op(b"tR");
        let message = refusal(parse(&torch_file(&pickle.stop(), &[])));
        assert_says(
            &message,
            &["m.ckpt", &format!("{module}.{name}"), "never made"],
        );
        // Hidden among good tensors: inert.
        let mut pickle = Pickle::new();
        pickle
            .op(b"}(")
            .text("w")
            .tensor(&MATRIX)
            .text("evil")
            .global(module, name);
        pickle.op(b"(").text(&command).op(b"tRu");
        let file = open(&torch_file(&pickle.stop(), &[VALUES]), "inert");
        assert_eq!(file.names(), ["w"]);
    }
    assert!(!proof.exists());
}

/// A zip whose members all hold a good pickle of the tensor `w`.
fn zip_of(names: &[&str], form: Form) -> Vec<u8> {
    let pickle = Pickle::new().state_dict(&[("w", MATRIX)]).stop();
    let members = names
        .iter()
        .map(|name| ((*name).to_string(), pickle.clone()));
    zip(&members.collect::<Vec<_>>(), form)
}

fn assert_refused(cases: &[(Vec<u8>, &[&str])]) {
    for (bytes, words) in cases {
        let message = refusal(parse(bytes));
        assert_says(&message, &["m.ckpt: "]);
        assert_says(&message, words);
    }
}

#[test]
fn zip_bombs_and_damaged_zips_are_refused() {
    let with = |form: Form| zip_of(&["x/data.pkl"], form);
    let good = with(Form::default());
    let directory = |bytes: &[u8]| bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let mut encrypted = good.clone();
    encrypted[directory(&good) + 8] |= 1;
    let mut moved = good.clone();
    moved[good.len() - 6] ^= 0x55;
    // Both directory entries point at the first member.
    let mut overlapping = zip_of(&["x/data.pkl", "x/data/0"], Form::default());
    let last = directory(&overlapping);
    overlapping[last + 42..last + 46].fill(0);
    let deflated = Form {
        method: 8,
        ..Form::default()
    };
    let bloated = Form {
        bloat: 4_000_000_000,
        ..Form::default()
    };
    assert_refused(&[
        (with(deflated), &["compressed", "`x/data.pkl`"]),
        (with(bloated), &["compressed"]),
        (encrypted, &["encrypted"]),
        (overlapping, &["overlap"]),
        (good[..good.len() - 10].to_vec(), &["not a torch zip"]),
        (moved, &["damaged"]),
    ]);
}

#[test]
fn other_files_in_place_of_a_checkpoint_are_refused() {
    let plain = |names: &[&str]| zip_of(names, Form::default());
    let pickle = Pickle::new().state_dict(&[("w", MATRIX)]).stop();
    let big_endian = [
        ("x/data.pkl".to_string(), pickle),
        ("x/byteorder".to_string(), b"big".to_vec()),
    ];
    assert_refused(&[
        (b"\x80\x02}q\x00.".to_vec(), &["not a torch zip"]),
        (Vec::new(), &["not a torch zip"]),
        (plain(&["x/other"]), &["without data.pkl"]),
        (
            plain(&["x/data.pkl", "y/data.pkl"]),
            &["more than one data.pkl"],
        ),
        (plain(&["x/data.pkl", "x/data.pkl"]), &["twice"]),
        (zip(&big_endian, Form::default()), &["little-endian"]),
        (
            plain(&["x/data.pkl"]),
            &["`w`", "lacks its storage", "data/0"],
        ),
    ]);
}

#[test]
fn tensors_that_leave_their_storage_are_refused() {
    let counted = |count| View { count, ..MATRIX };
    let cases = [
        view(&[2, 3], &[3, 1], 1),
        view(&[2, 3], &[3, 1], -1),
        view(&[2, 3], &[3, 1], i64::MAX),
        view(&[2, 4], &[4, 1], 0),
        view(&[2, 3], &[4, 1], 0),
        view(&[2, 3], &[-3, 1], 0),
        view(&[2, 3], &[i64::MAX, i64::MAX], 0),
        view(&[-2, 3], &[3, 1], 0),
        view(&[i64::MAX, i64::MAX], &[3, 1], 0),
        // A zero stride must not blow one element up to terabytes.
        view(&[1 << 40], &[0], 0),
        view(&[6], &[1, 1], 0),
        counted(7),
        counted(-6),
        counted(i64::MAX),
        View {
            class: "DoubleStorage",
            ..counted(3)
        },
        View {
            key: "../data.pkl",
            ..MATRIX
        },
    ];
    parse(&one(MATRIX)).unwrap();
    for view in cases {
        assert_says(&refusal(parse(&one(view))), &["`w`"]);
    }
}

#[test]
fn bad_pickles_are_refused() {
    let deep = |op: &[u8]| {
        let mut pickle = Pickle::new();
        pickle.op(b")");
        for _ in 0..500_000 {
            pickle.op(op);
        }
        pickle.stop()
    };
    let good = Pickle::new().state_dict(&[("w", MATRIX)]).stop();
    let twice = Pickle::new()
        .state_dict(&[("w", MATRIX), ("w", MATRIX)])
        .stop();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (good[..good.len() - 1].to_vec(), "cut off"),
        (good[..good.len() / 2].to_vec(), "cut off"),
        (Pickle::new().stop(), "empty stack"),
        (Pickle::new().op(b"0").stop(), "opcode 0x30"),
        (Pickle::new().op(b"t").stop(), "lacks a mark"),
        (Pickle::new().op(b"h\x05").stop(), "recalls"),
        (Pickle::new().op(b"N)R").stop(), "not a name"),
        (Pickle::new().op(b"}(Nu").stop(), "key but no value"),
        (Pickle::new().op(b"X\xff\xff\xff\xff").stop(), "cut off"),
        (Pickle::new().op(b"X\x01\0\0\0\xff").stop(), "UTF-8"),
        (Pickle::new().op(b"NQ").stop(), "storage"),
        (Pickle::new().op(b"((((").stop(), "empty stack"),
        // A list inside itself, and nests too deep for recursion.
        (Pickle::new().op(b"]q\x00h\x00a").stop(), "found a list"),
        (deep(b"\x85"), "found a list"),
        (deep(b"q\x01h\x01"), "found a list"),
        (vec![b'N'; 2 << 20], "more than 1048576 values"),
        (vec![b'('; 2 << 20], "more than 1048576 marks"),
        (vec![b')'; 33 << 20], "at most 33554432"),
        (twice, "`w` twice"),
        (
            Pickle::new().op(b"}").text("epoch").int(1).op(b"s").stop(),
            "epoch",
        ),
        (Pickle::new().int(1).stop(), "a plain value"),
    ];
    for (pickle, words) in cases {
        let message = refusal(parse(&torch_file(&pickle, &[VALUES])));
        assert_says(&message, &[words]);
    }
}
