//! The text encoder against the reference's numbers, and its plan as text.

use std::path::Path;

use gallop::{
    cpu::Cpu,
    executor::required_tensors,
    model::text_encoder::{self, TextEncoderConfig},
    pipeline::{Context, text::encode_prompt},
    weights::{Architecture, Synthetic, Weights},
};
use serde_json::json;

use crate::{replay, snapshot::snapshot};

fn config() -> TextEncoderConfig {
    let value = json!({
        "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 32, "intermediate_size": 96, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 50.0,
        "sliding_window": 4, "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "vocab_size": 97
    });
    TextEncoderConfig::from_value(&value, Path::new("config.json")).expect("a valid configuration")
}

#[test]
fn the_text_encoder_matches_the_reference() {
    replay("text", &["text_encoder"], &Cpu);
}

#[test]
fn a_prompt_becomes_at_most_640_rows_that_f16_can_hold() {
    let config = config();
    let wanted = required_tensors(&text_encoder::encode(&config, 1, false).0);
    let source = Synthetic::new(Architecture::TextEncoder, &wanted, 3).unwrap();
    let weights = Weights::new(Box::new(source));
    let context = Context::new(&Cpu);
    let encode = |ids: &[u32]| encode_prompt(&context, &weights, &config, ids, false);
    let ids: Vec<u32> = (0..641).map(|i| i * 31 % 97).collect();
    let long = encode(&ids).unwrap();
    assert_eq!(long.shape(), &[640, 64].into());
    assert_eq!(long.cast(gallop::DType::F16).to_f32(), long.to_f32());
    let cut_first = encode(&ids[..640]).unwrap();
    assert_eq!(cut_first.shape(), long.shape());
    assert_ne!(
        cut_first.to_f32(),
        long.to_f32(),
        "the last token had no say"
    );
    assert_eq!(encode(&ids[..7]).unwrap().shape(), &[7, 64].into());
    for bad in [&[][..], &[96, 97], &[u32::MAX]] {
        assert_eq!(encode(bad).unwrap_err().exit_code(), 3);
    }
}

#[test]
fn the_published_encoder_is_the_one_of_the_specification() {
    let mut config = config();
    config.hidden_size = 3584;
    config.num_attention_heads = 16;
    config.num_key_value_heads = 8;
    config.head_dim = 256;
    config.intermediate_size = 14336;
    config.sliding_window = 4096;
    config.vocab_size = 256_000;
    config.layers = config.layers.repeat(21);
    let (plan, _) = text_encoder::encode(&config, 640, false);
    assert_eq!((plan.weights().count(), plan.segments().len()), (464, 42));
    assert_eq!(plan.weight_bytes(), 2 * 9_241_705_984);
    let flops = plan.total_cost().flops;
    assert!((10.9e12..11.0e12).contains(&flops), "{flops:e}");
}

#[test]
fn the_plan_is_as_recorded() {
    snapshot("text_encoder", &text_encoder::encode(&config(), 9, true).0);
}
