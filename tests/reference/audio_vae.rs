//! The audio autoencoder against the reference's numbers, and its plans as text.

use std::path::Path;

use gallop::{
    DType,
    cpu::Cpu,
    executor::required_tensors,
    model::audio_vae::{self, AudioVaeConfig},
    pipeline::{Context, sound},
    qualify::relative_l2,
    weights::{Architecture, Synthetic, Weights, synthetic},
};
use serde_json::{Value, json};

use crate::{golden_cases, replay, snapshot::snapshot};

fn config(channels: usize) -> Value {
    let half = |latent_dim: usize| {
        json!({
            "channels": channels, "c_mults": [1, 2, 4, 8, 16], "strides": [2, 4, 4, 8, 8],
            "latent_dim": latent_dim, "use_snake": true, "final_tanh": false
        })
    };
    json!({
        "encoder": {"type": "oobleck", "config": half(128)},
        "decoder": {"type": "oobleck", "config": half(64)},
        "bottleneck": {"type": "vae"}, "latent_dim": 64, "downsampling_ratio": 2048, "io_channels": 2
    })
}

fn parse(value: &Value) -> gallop::Result<AudioVaeConfig> {
    let whole = json!({"sample_rate": 44100, "model": {"pretransform": {"config": value}}});
    AudioVaeConfig::parse(&whole.to_string(), Path::new("model_config.json"))
}

#[test]
fn oobleck_matches_the_reference() {
    let kinds = [
        "oobleck.decode",
        "oobleck.encode",
        "oobleck.encode_windowed",
    ];
    replay("vae", &kinds, &Cpu);
}

/// The golden replays the windows itself; here the pipeline's own stage makes them, in tiles.
#[test]
fn a_long_voice_track_is_encoded_in_windows() {
    let suites = golden_cases::suites("vae");
    let mut cases = suites.iter().flat_map(|suite| suite.cases());
    let case = cases.find(|case| case.name() == "oob_windowed" && golden_cases::is_here(case));
    let Some(case) = case else {
        println!("not run: the file of oob_windowed is not here");
        return;
    };
    let config =
        AudioVaeConfig::from_value(&case.field("config").unwrap(), Path::new("oob_windowed"))
            .unwrap();
    let seed = case.field("weights_seed").unwrap();
    let key = synthetic::key("input.oob_windowed", seed);
    let rule = synthetic::Rule::Uniform {
        offset: 0.0,
        scale: 0.5,
        dtype: DType::F32,
    };
    let mono: Vec<f32> = (0..2_000_000).map(|i| rule.value(key, i)).collect();
    let wanted = required_tensors(&audio_vae::encode(&config, config.hop).0);
    let source = Synthetic::new(Architecture::AudioVae, &wanted, seed).unwrap();
    let weights = Weights::new(Box::new(source));
    let latent = sound::encode_voice(&Context::new(&Cpu), &weights, &config, &mono, None).unwrap();
    assert_eq!(latent.shape(), &[977, 64].into());
    let tensors = case.tensors().unwrap();
    let stored = tensors.get("ref64").unwrap().to_f32();
    let want: Vec<f32> = (0..977 * 64)
        .map(|i| stored[i % 64 * 977 + i / 64])
        .collect();
    let error = relative_l2(&latent.to_f32(), &want);
    assert!(error <= 1e-5, "{error:e}");
}

#[test]
fn the_published_network_is_the_one_of_the_specification() {
    let config = parse(&config(128)).unwrap();
    assert_eq!((config.hop, config.latent_channels), (2048, 64));
    let mut encoder = required_tensors(&audio_vae::encode(&config, 2048).0);
    let decoder = required_tensors(&audio_vae::decode(&config, 1).0);
    let values = |required_tensors: &[gallop::weights::TensorSpec]| {
        required_tensors
            .iter()
            .map(|w| w.shape.count())
            .sum::<usize>()
    };
    assert_eq!(
        (values(&encoder), values(&decoder)),
        (77_989_888, 78_122_626)
    );
    encoder.extend(decoder);
    assert_eq!(encoder.len(), 365);
    assert_eq!(audio_vae::decode_context(&config), 10);
    assert_eq!(audio_vae::encode_context(&config), 9);
    let flops = audio_vae::decode(&config, 126).0.total_cost().flops;
    assert!((0.63e12..0.65e12).contains(&flops), "{flops:e}");
}

#[test]
fn other_networks_are_refused_by_the_field_that_differs() {
    for (pointer, value) in [
        ("/encoder/type", json!("dac")),
        ("/bottleneck/type", json!("tanh")),
        ("/decoder/config/final_tanh", json!(true)),
        ("/decoder/config/use_snake", json!(false)),
        ("/decoder/config/latent_dim", json!(128)),
        ("/encoder/config/latent_dim", json!(64)),
        ("/encoder/config/strides", json!([2, 4, 4, 8])),
        ("/encoder/config/strides", json!([2, 4, 4, 8, 0])),
        ("/encoder/config/strides", json!([3, 4, 4, 8, 8])),
        ("/decoder/config/strides", json!([2, 4, 4, 8, 16])),
        ("/decoder/config/c_mults", json!([1, 2, 4, 8, u64::MAX])),
        ("/decoder/config/channels", json!(0)),
        ("/downsampling_ratio", json!(1024)),
        ("/latent_dim", json!(u64::MAX / 2)),
        ("/io_channels", json!(0)),
    ] {
        let mut file = config(8);
        *file.pointer_mut(pointer).unwrap() = value;
        let error = parse(&file).expect_err(pointer);
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(
            text.starts_with("model_config.json: `model.pretransform.config`: "),
            "{text}"
        );
    }
    assert!(AudioVaeConfig::parse("{}", Path::new("x")).is_err());
    assert!(AudioVaeConfig::parse("", Path::new("x")).is_err());
}

#[test]
fn plans_are_as_recorded() {
    let config = parse(&config(8)).unwrap();
    snapshot("audio_decoder", &audio_vae::decode(&config, 3).0);
    snapshot("audio_encoder", &audio_vae::encode(&config, 6244).0);
}
