//! No bytes make a parser panic, and what it accepts can be loaded.

use std::path::Path;

use gallop::weights::{Manifest, Source, TorchFile, safetensors::Header, torch_zip};
use proptest::{
    collection::vec,
    prelude::{any, prop},
    test_runner::{Config, RngSeed, TestRunner},
};

use crate::{
    scratch::{Scratch, safetensors},
    torch_writer::{Pickle, View, torch_file},
};

/// Damage: places and bytes, and where to cut.
type Damage = (Vec<(prop::sample::Index, u8)>, prop::sample::Index, bool);

/// Runs `test` on the good bytes, damaged in as many ways as `CASES` says.
fn for_each_damaged(good: &[u8], test: impl Fn(&[u8])) {
    let cases = std::env::var("CASES").ok().and_then(|n| n.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(2000),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..Config::default()
    };
    let damage = (
        vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
        prop::bool::weighted(0.2),
    );
    let run = |(places, cut, is_cut): Damage| {
        let mut bytes = good.to_vec();
        for (place, value) in places {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        test(&bytes);
        Ok(())
    };
    TestRunner::new(config).run(&damage, run).unwrap();
}

#[test]
fn safetensors_headers() {
    let header = r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
        "b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}}"#;
    let good = safetensors(header, &[0; 14]);
    for_each_damaged(&good, |bytes| {
        let parsed = Header::parse(Path::new("m"), bytes, bytes.len() as u64);
        for entry in parsed.iter().flat_map(|header| header.entries().values()) {
            assert!(entry.range.end <= bytes.len());
            if let Ok(dtype) = entry.dtype {
                assert_eq!(entry.range.len(), entry.shape.count() * dtype.size());
            }
        }
    });
}

fn torch_bytes() -> Vec<u8> {
    let view = View {
        class: "FloatStorage",
        key: "0",
        count: 6,
        offset: 0,
        sizes: &[3, 2],
        strides: &[1, 3],
    };
    let row = View {
        sizes: &[3],
        strides: &[1],
        offset: 3,
        ..view
    };
    let mut pickle = Pickle::new();
    pickle
        .op(b"}(")
        .text("n")
        .int(-3)
        .text("l")
        .op(b"](")
        .int(1 << 40)
        .op(b"Ne");
    pickle.text("ema").state_dict(&[("w", view), ("x", row)]);
    torch_file(&pickle.op(b"u").stop(), &[&[0.0; 6]])
}

#[test]
fn torch_files() {
    let scratch = Scratch::new("fuzz-torch");
    for_each_damaged(&torch_bytes(), |bytes| {
        if torch_zip::parse(Path::new("m"), bytes, Some("ema")).is_ok() {
            let path = scratch.file("m.ckpt", bytes);
            let file = TorchFile::open(&path, Some("ema")).unwrap();
            for name in file.names() {
                let loaded = file.load(&name);
                assert_eq!(loaded.is_ok(), file.info(&name).is_some());
            }
        }
    });
}

#[test]
fn pickles() {
    let mut pickle = Pickle::new();
    pickle
        .op(b"}(")
        .text("a")
        .op(b"(")
        .int(7)
        .int(-70_000)
        .op(b"t\x87\x86\x85");
    let view = View {
        class: "HalfStorage",
        key: "9",
        count: 1,
        offset: 0,
        sizes: &[1],
        strides: &[1],
    };
    pickle.text("d").state_dict(&[("w", view)]).op(b"u");
    for_each_damaged(&pickle.stop(), |bytes| {
        drop(gallop::weights::pickle::Pickle::parse(bytes));
    });
}

#[test]
fn manifests() {
    let good = r#"{"base": {"path": "a/b", "config": "c", "steps": 4, "coordinates": "v1", "local_layers": [2, 0],
        "guidance": 1.5, "shift": 4}, "wan_vae": {"path": "x"}}"#;
    for_each_damaged(good.as_bytes(), |bytes| {
        drop(Manifest::parse(
            Path::new("m"),
            &String::from_utf8_lossy(bytes),
        ));
    });
}
