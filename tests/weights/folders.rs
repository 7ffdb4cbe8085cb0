//! Model folders as they are downloaded, and what a manifest changes.

use std::{fs, os::unix::fs::symlink, path::Path};

use gallop::{
    DType,
    weights::{
        Architecture, Component, Manifest, Missing, PositionScheme, State, Synthetic, TensorSpec,
        Variant, folder::find,
    },
};

use crate::{
    scratch::{Scratch, assert_says, refusal, safetensors, vectors},
    torch_writer::{Pickle, torch_file, vector},
};

const ONE: &[f32] = &[1.0, 2.0];

fn want(name: &str) -> TensorSpec {
    TensorSpec::new(name, [2], DType::F32)
}

/// Writes all parts below the folder, each repository at the root of `place`.
fn fill(scratch: &Scratch, davinci: &str, wan: &str, audio: &str, text: &str) {
    for variant in ["base", "distill", "540p_sr", "1080p_sr"] {
        let name = format!("{davinci}{variant}/diffusion_pytorch_model.safetensors");
        scratch.file(&name, &vectors(&[("final_norm_video.weight", ONE)]));
    }
    let ema = [
        ("module.decoder.w", vector("0", &[2])),
        (
            "module.aligned_feature_projection_heads.0.0.conv.weight",
            vector("0", &[2]),
        ),
    ];
    let mut pickle = Pickle::new();
    pickle
        .op(b"}(")
        .text("epoch")
        .int(3)
        .text("ema_state_dict")
        .state_dict(&ema)
        .op(b"u");
    scratch.file(
        &format!("{davinci}turbo_vae/checkpoint-340000.ckpt"),
        &torch_file(&pickle.stop(), &[ONE]),
    );
    scratch.file(
        &format!("{davinci}turbo_vae/TurboV3-Wan22-TinyShallow_7_7.json"),
        b"{\"turbo\": 1}",
    );
    let pickle = Pickle::new()
        .state_dict(&[("conv2.w", vector("0", &[2]))])
        .stop();
    scratch.file(
        &format!("{wan}Wan2.2_VAE.pth"),
        &torch_file(&pickle, &[ONE]),
    );
    let all = [
        ("pretransform.model.decoder.w", ONE),
        ("model.model.w", ONE),
    ];
    scratch.file(&format!("{audio}model.safetensors"), &vectors(&all));
    scratch.file(&format!("{audio}model_config.json"), b"{\"audio\": 1}");

    let encoder = r#"{"model.encoder.embed_tokens.weight":{"dtype":"BF16","shape":[5,1],"data_offsets":[0,10]}}"#;
    let shard = "model-00001-of-00009.safetensors";
    scratch.file(&format!("{text}{shard}"), &safetensors(encoder, &[0; 10]));
    let index = format!(
        r#"{{"weight_map":{{"model.encoder.embed_tokens.weight":"{shard}",
        "model.decoder.norm.weight":"model-00009-of-00009.safetensors"}}}}"#
    );
    scratch.file(
        &format!("{text}model.safetensors.index.json"),
        index.as_bytes(),
    );
    scratch.file(
        &format!("{text}config.json"),
        b"{\"model_type\": \"t5gemma\"}",
    );
    scratch.file(&format!("{text}tokenizer.json"), b"{}");
}

/// Opens every part and checks that its selection is exactly what is meant.
fn assert_complete(dir: &Path) {
    let folder = find(dir).unwrap();
    for (part, state) in folder.states() {
        assert!(matches!(state, State::Found { .. }), "{part:?} {state:?}");
    }
    let wanted = [want("final_norm_video.weight")];
    for variant in [
        Variant::Base,
        Variant::Distill,
        Variant::Sr540p,
        Variant::Sr1080p,
    ] {
        let weights = folder.open(Component::Dit(variant)).unwrap();
        weights.check(&wanted).unwrap();
        weights.check_nothing_left(&wanted).unwrap();
        assert_eq!(folder.config(Component::Dit(variant)).unwrap(), None);
    }
    for (weights, name) in [
        (folder.open(Component::TurboVae), "decoder.w"),
        (folder.open(Component::WanVae), "conv2.w"),
        (folder.open(Component::AudioVae), "decoder.w"),
    ] {
        let weights = weights.unwrap();
        weights.check_nothing_left(&[want(name)]).unwrap();
        assert_eq!(weights.load(&want(name)).unwrap().to_f32().as_ref(), ONE);
    }
    let table = [TensorSpec::new(
        "model.encoder.embed_tokens.weight",
        [4, 1],
        DType::Bf16,
    )];
    let weights = folder.open(Component::TextEncoder).unwrap();
    weights.check(&table).unwrap();
    weights.check_nothing_left(&table).unwrap();
    assert_eq!(weights.load(&table[0]).unwrap().count(), 4);
    let config = |part| folder.config(part).unwrap().unwrap();
    assert_says(&config(Component::TurboVae), &["turbo"]);
    assert_says(&config(Component::AudioVae), &["audio"]);
    assert_says(&config(Component::TextEncoder), &["t5gemma"]);
    assert!(folder.tokenizer().unwrap().ends_with("tokenizer.json"));
}

#[test]
fn folders_are_found_as_downloaded() {
    let scratch = Scratch::new("downloaded");
    fill(
        &scratch,
        "daVinci-MagiHuman/",
        "Wan2.2-TI2V-5B/",
        "stable-audio-open-1.0/",
        "t5gemma-9b-9b-ul2/",
    );
    assert_complete(scratch.path());

    let scratch = Scratch::new("flat");
    fill(&scratch, "", "", "stable-audio-open-1.0/", "");
    assert_complete(scratch.path());
}

#[test]
fn the_hub_s_cache_is_a_folder_too() {
    let scratch = Scratch::new("hub");
    let of = |name: &str| {
        let root = format!("models--{name}");
        scratch.file(&format!("{root}/refs/main"), b"0123abc\n");
        scratch.file(&format!("{root}/snapshots/ffff/model.safetensors"), b"old");
        format!("{root}/snapshots/0123abc/")
    };
    fill(
        &scratch,
        &of("GAIR--daVinci-MagiHuman"),
        &of("Wan-AI--Wan2.2-TI2V-5B"),
        &of("stabilityai--stable-audio-open-1.0"),
        &of("google--t5gemma-9b-9b-ul2"),
    );
    assert_complete(scratch.path());

    // The cache of one repository, whose version has no name.
    let scratch = Scratch::new("hub-one");
    let root = "snapshots/ffff/";
    fill(
        &scratch,
        root,
        root,
        "snapshots/ffff/stable-audio-open-1.0/",
        root,
    );
    assert_complete(scratch.path());
    // A name that leads elsewhere is no version.
    scratch.file("refs/main", b"../../elsewhere");
    assert_complete(scratch.path());
    scratch.file("snapshots/eeee/x", b"");
    let folder = find(scratch.path()).unwrap();
    let is_there = |(_, state): &(_, State)| matches!(state, State::Found { .. });
    assert!(!folder.states().iter().any(is_there));
}

#[test]
fn what_a_failed_download_left_is_named_for_what_it_is() {
    let scratch = Scratch::new("stand-ins");
    let pointer =
        "version https://git-lfs.github.com/spec/v1\noid sha256:4665a9f0\nsize 134217728\n";
    let page = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
    let answer = r#"{"error":"Repository not found"}"#;
    let zeros = String::from_utf8(vec![0; 4096]).unwrap();
    let cases = [
        (pointer, "git-LFS pointer"),
        (page, "web page (HTML)"),
        ("\u{feff}\n<html>", "web page (HTML)"),
        (
            answer,
            "a server's answer, not the file: {\"error\":\"Repository not found\"}",
        ),
        (
            "Entry not found\n",
            "a text, not a checkpoint: Entry not found",
        ),
        (
            &zeros,
            "begins with zeros; its download has not been finished",
        ),
        (
            "\0\u{5}\u{16}\u{7}\0\u{2}\0\0Mac OS X",
            "what macOS keeps beside a file",
        ),
        (
            "GGUF\u{3}\0\0\0\0",
            "a GGUF file; must be a safetensors file",
        ),
    ];
    for (text, words) in cases {
        scratch.file("distill/model.safetensors", text.as_bytes());
        scratch.file("Wan2.2_VAE.pth", text.as_bytes());
        let folder = find(scratch.path()).unwrap();
        for (part, file) in [
            (
                Component::Dit(Variant::Distill),
                "distill/model.safetensors: is ",
            ),
            (Component::WanVae, "Wan2.2_VAE.pth: is "),
        ] {
            let file = if words.starts_with("begins") {
                file.trim_end_matches("is ")
            } else {
                file
            };
            assert_says(&refusal(folder.open(part)), &[file, words]);
        }
    }
    // Where JSON belongs, a text is no stand-in, and a part of an object is one.
    scratch.file("t5gemma-9b-9b-ul2/model.safetensors", &vectors(&[]));
    for (text, words) in cases[..4]
        .iter()
        .chain([&(r#"{"a": {"b": 1"#, "is cut off")])
    {
        scratch.file("t5gemma-9b-9b-ul2/config.json", text.as_bytes());
        let folder = find(scratch.path()).unwrap();
        assert_says(
            &refusal(folder.config(Component::TextEncoder)),
            &["config.json: ", words],
        );
        scratch.file("gallop.json", text.as_bytes());
        assert_says(&refusal(find(scratch.path())), &["gallop.json: ", words]);
        fs::remove_file(scratch.path().join("gallop.json")).unwrap();
    }
}

#[test]
fn what_is_not_there_is_said_to_be_absent() {
    let scratch = Scratch::new("absent");
    let distill = Component::Dit(Variant::Distill);
    let open = || find(scratch.path()).unwrap().open(distill);
    scratch.file("distill/model.safetensors.incomplete", b"x");
    scratch.file("distill/._model.safetensors", b"x");
    let manifest = br#"{"distill": {"path": "distill"}}"#;
    scratch.file("gallop.json", manifest);
    assert_says(
        &refusal(open()),
        &["model.safetensors.incomplete`", "not been finished"],
    );

    let index = r#"{"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors"}}"#;
    scratch.file("distill/model.safetensors.index.json", index.as_bytes());
    let missing = refusal(open().unwrap().check(&[want("b")]));
    let words = "distill/2.safetensors: is missing; by the index, `b` is in it, 2 more files of 3 are missing";
    assert_says(&missing, &[words]);

    // Nor does a file that is not there hold what the model does not have.
    for (file, name) in [("1", "a"), ("2", "b")] {
        scratch.file(
            &format!("distill/{file}.safetensors"),
            &vectors(&[(name, ONE)]),
        );
    }
    let both = [want("a"), want("b")];
    open().unwrap().check(&both).unwrap();
    let left = refusal(open().unwrap().check_nothing_left(&both));
    assert_says(
        &left,
        &["3.safetensors: is missing; by the index, `c` is in it"],
    );

    fs::remove_file(scratch.path().join("distill/2.safetensors")).unwrap();
    symlink("../blobs/2", scratch.path().join("distill/2.safetensors")).unwrap();
    let left = refusal(open().unwrap().check(&both));
    assert_says(&left, &["2.safetensors", "is missing"]);
    fs::remove_file(scratch.path().join("distill/model.safetensors.index.json")).unwrap();
    fs::remove_file(scratch.path().join("distill/1.safetensors")).unwrap();
    assert_says(
        &refusal(open()),
        &["2.safetensors: is a link to `../blobs/2`, which is not there"],
    );
}

#[test]
fn missing_parts_say_where_they_are_published() {
    let scratch = Scratch::new("nothing");
    let folder = find(scratch.path()).unwrap();
    assert_eq!(folder.states().len(), Component::ALL.len());
    for (part, state) in folder.states() {
        let State::Missing(Missing {
            bytes, is_gated, ..
        }) = state
        else {
            panic!("{part:?} is not there");
        };
        assert!(*bytes > 1_000_000, "{part:?}");
        let gated = [
            Component::TextEncoder,
            Component::Tokenizer,
            Component::AudioVae,
        ];
        assert_eq!(*is_gated, gated.contains(part), "{part:?}");
    }
    assert_says(
        &refusal(folder.open(Component::Dit(Variant::Distill))),
        &[
            "/distill: ",
            "missing",
            "GAIR/daVinci-MagiHuman",
            "57.0 GiB",
            "gallop.json",
        ],
    );
    assert_says(
        &refusal(folder.open(Component::TextEncoder)),
        &["google/t5gemma-9b-9b-ul2", "licence"],
    );
    refusal(find(&scratch.path().join("no such folder")));

    // Of a part that is half there, the other half is named.
    scratch.file("turbo_vae/checkpoint-340000.ckpt", b"");
    let folder = find(scratch.path()).unwrap();
    assert_says(
        &refusal(folder.open(Component::TurboVae)),
        &["TurboV3-Wan22-TinyShallow_7_7.json: is missing"],
    );
}

#[test]
fn published_variants_have_the_reference_s_properties() {
    let scratch = Scratch::new("properties");
    let folder = find(scratch.path()).unwrap();
    let [base, distill, sr] =
        [Variant::Base, Variant::Distill, Variant::Sr1080p].map(|v| folder.properties(v));
    assert_eq!((base.steps, distill.steps, sr.steps), (32, 8, 5));
    assert_eq!((base.guidance, distill.guidance), (5.0, 1.0));
    assert_eq!(
        (base.coordinates, sr.coordinates),
        (PositionScheme::V2, PositionScheme::V1)
    );
    let full: Vec<usize> = (0..40)
        .filter(|layer| !sr.local_layers.contains(layer))
        .collect();
    assert_eq!(full, [3, 7, 11, 15, 19, 23, 27, 31]);
    assert!(folder.properties(Variant::Sr540p).local_layers.is_empty());
    assert_eq!((sr.frame_receptive_field, sr.shift), (11, 5.0));
}

#[test]
fn a_manifest_names_other_paths_and_properties() {
    let scratch = Scratch::new("manifest");
    let elsewhere = scratch.file("far/away.safetensors", &vectors(&[("decoder.w", ONE)]));
    scratch.file("far/small.json", b"{\"small\": 1}");
    scratch.file(
        "tiny/model.safetensors",
        &vectors(&[("final_norm_video.weight", ONE)]),
    );
    let text = format!(
        r#"{{"turbo_vae": {{"path": {elsewhere:?}, "config": "far/small.json"}},
            "base": {{"path": "tiny", "config": "far/small.json", "steps": 4, "coordinates": "v1",
                      "local_layers": [2, 0, 2], "frame_receptive_field": 3, "guidance": 1.5, "shift": 4}}}}"#
    );
    scratch.file("gallop.json", text.as_bytes());
    let folder = find(scratch.path()).unwrap();
    folder
        .open(Component::TurboVae)
        .unwrap()
        .check(&[want("decoder.w")])
        .unwrap();
    folder.open(Component::Dit(Variant::Base)).unwrap();
    let config = folder
        .config(Component::Dit(Variant::Base))
        .unwrap()
        .unwrap();
    assert_says(&config, &["small"]);
    let base = folder.properties(Variant::Base);
    assert_eq!((base.steps, base.coordinates), (4, PositionScheme::V1));
    assert_eq!(
        (base.local_layers.as_slice(), base.frame_receptive_field),
        (&[0, 2][..], 3)
    );
    assert_eq!((base.guidance, base.shift), (1.5, 4.0));
    assert_eq!(folder.properties(Variant::Distill).steps, 8);

    // What is written is what was read, to the last bit of a number.
    let long = r#"{"base": {"guidance": 1.54611686018427387904}}"#;
    for text in [text.as_str(), long] {
        let path = Path::new("gallop.json");
        let manifest = Manifest::parse(path, text).unwrap();
        let written = serde_json::to_string(&manifest).unwrap();
        assert_eq!(Manifest::parse(path, &written).unwrap(), manifest);
    }
}

#[test]
fn bad_manifests_are_refused() {
    let cases: &[(&str, &[&str])] = &[
        ("{\n\"base\": {,}}", &["not a manifest", "line 2"]),
        ("[]", &["not a manifest"]),
        (
            r#"{"bass": {}}"#,
            &["unknown key `bass`", "is `base` meant?"],
        ),
        (r#"{"1080_sr": {}}"#, &["is `1080p_sr` meant?"]),
        (
            r#"{"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq": {}}"#,
            &["known are base, distill"],
        ),
        (
            r#"{"base": {"stpes": 8}}"#,
            &["`base.stpes`", "is `base.steps` meant?"],
        ),
        (
            r#"{"base": {"steps": 0}}"#,
            &["`base.steps` must be 1 to 1000; found 0"],
        ),
        (
            r#"{"base": {"guidance": 0.5}}"#,
            &["`base.guidance`", "0.5"],
        ),
        (r#"{"base": {"shift": -1}}"#, &["`base.shift`"]),
        (r#"{"base": {"coordinates": "v3"}}"#, &["v3", "v1"]),
        (
            r#"{"base": {"steps": 3}, "base": {}}"#,
            &["duplicate field `base`"],
        ),
        (
            r#"{"base": {"path": "gone"}}"#,
            &["`gone`", "`base.path`", "does not exist"],
        ),
        (
            r#"{"wan_vae": {"config": "gone"}}"#,
            &["`wan_vae.config`", "does not exist"],
        ),
    ];
    let scratch = Scratch::new("bad-manifest");
    for (text, words) in cases {
        scratch.file("gallop.json", text.as_bytes());
        let message = refusal(find(scratch.path()));
        assert_says(&message, &["gallop.json: "]);
        assert_says(&message, words);
    }
    scratch.file("gallop.json", &vec![b' '; 2 << 20]);
    assert_says(&refusal(find(scratch.path())), &["2.0 MiB"]);
}

#[test]
fn synthetic_parts_are_found_where_they_are_written() {
    let scratch = Scratch::new("synthetic-folder");
    let write = |network, name: &str, shape: &[usize], folder: &str| {
        let required_tensors = [TensorSpec::new(name, shape, DType::F32)];
        let made = Synthetic::new(network, &required_tensors, 1).unwrap();
        made.write(&scratch.path().join(folder), 1 << 30, &mut |_, _| true)
            .unwrap();
        required_tensors
    };
    let audio = write(
        Architecture::AudioVae,
        "decoder.layers.6.alpha",
        &[4],
        "stable-audio-open-1.0",
    );
    scratch.file("stable-audio-open-1.0/model_config.json", b"{}");
    let turbo = write(
        Architecture::VideoVae,
        "decoder.conv_in.conv.bias",
        &[4],
        "turbo_vae",
    );
    scratch.file("turbo_vae/TurboV3-Wan22-TinyShallow_7_7.json", b"{}");
    let folder = find(scratch.path()).unwrap();
    let weights = folder.open(Component::AudioVae).unwrap();
    weights.check(&audio).unwrap();
    weights.check_nothing_left(&audio).unwrap();
    folder
        .open(Component::TurboVae)
        .unwrap()
        .check(&turbo)
        .unwrap();
}

#[test]
fn a_file_is_read_by_what_it_holds_not_by_its_name() {
    let scratch = Scratch::new("sniffed");
    let pickle = Pickle::new()
        .state_dict(&[("conv2.w", vector("0", &[2]))])
        .stop();
    for bytes in [torch_file(&pickle, &[ONE]), vectors(&[("conv2.w", ONE)])] {
        for name in ["w.safetensors", "w.pth", "w"] {
            let manifest = format!(r#"{{"wan_vae": {{"path": "{name}"}}}}"#);
            scratch.file("gallop.json", manifest.as_bytes());
            scratch.file(name, &bytes);
            let weights = find(scratch.path())
                .unwrap()
                .open(Component::WanVae)
                .unwrap();
            let spec = TensorSpec::new("conv2.w", [2], DType::F32);
            assert_eq!(weights.load(&spec).unwrap().to_f32().as_ref(), ONE);
        }
    }
    // What no reader knows is refused by the one that its name promises.
    for (name, word) in [("w.safetensors", "safetensors"), ("w.pth", "torch")] {
        let manifest = format!(r#"{{"wan_vae": {{"path": "{name}"}}}}"#);
        scratch.file("gallop.json", manifest.as_bytes());
        scratch.file(name, b"\x01nothing that anyone wrote");
        let message = refusal(find(scratch.path()).unwrap().open(Component::WanVae));
        assert_says(&message, &[name, word]);
    }
}

#[test]
fn two_names_of_one_tensor_are_refused() {
    let scratch = Scratch::new("two-names");
    let both = [
        ("model.encoder.norm.weight", ONE),
        ("encoder.norm.weight", ONE),
    ];
    scratch.file("t5gemma-9b-9b-ul2/model.safetensors", &vectors(&both));
    scratch.file("t5gemma-9b-9b-ul2/config.json", b"{}");
    let message = refusal(find(scratch.path()).unwrap().open(Component::TextEncoder));
    assert_says(&message, &["`model.encoder.norm.weight`", "two names"]);
}
