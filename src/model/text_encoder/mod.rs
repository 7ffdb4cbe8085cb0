//! The text encoder: the encoder half of T5Gemma. Reference: `model/t5_gemma/t5_gemma_model.py`, which runs
//! `T5GemmaEncoderModel` of `transformers` 4.56.0.
//!
//! One prompt, no padding, bidirectional attention. Weights and activations are bf16 as in the reference;
//! [`Plan::in_f32`] gives the same model on the same weights without rounding. Weights have the checkpoint's names:
//! `model.encoder.layers.0.self_attn.q_proj.weight`. Read [`encode`] first.

mod config;
mod layer;

pub use config::{AttentionKind, TextEncoderConfig};

use crate::{
    DType, Tensor,
    plan::{Buf, Builder, Plan},
};

/// Most rows of features that the denoising network takes.
pub const MAX_FEATURES: usize = 640;

/// Buffers of [`encode`].
#[derive(Clone, Copy, Debug)]
pub struct TextEncoderPorts {
    /// Input `[T]` i32: token ids, each less than `vocab_size`.
    pub ids: Buf,
    /// Input `[T, head_dim]`: [`rope_table`]. It has the activations' type, so that it is rounded where the reference
    /// rounds it.
    pub rope: Buf,
    /// Output `[T, hidden_size]`: the last hidden state, after the final norm.
    pub output: Buf,
}

/// Plan that encodes `tokens` tokens. `softcap` applies the configured soft-cap on logits, which the reference leaves
/// out.
///
/// # Panics
/// If `tokens` is zero.
pub fn encode(
    config: &TextEncoderConfig,
    tokens: usize,
    softcap: bool,
) -> (Plan, TextEncoderPorts) {
    assert!(tokens > 0, "nothing to encode");
    let mut builder = Builder::new();
    let p = &mut builder;
    let ids = p.input("ids", [tokens], DType::I32);
    let rope = p.input("rope", [tokens, config.head_dim], DType::Bf16);
    let shared = layer::Shared {
        config,
        rope,
        softcap,
    };
    let output = p.scope("model.encoder", |p| {
        let table = [config.vocab_size, config.hidden_size];
        let scale = embed_scale(config.hidden_size);
        let mut h = p.embed("embed_tokens", ids, table, scale, DType::Bf16);
        for (index, &kind) in config.layers.iter().enumerate() {
            h = p.segment(format_args!("layers.{index}"), |p| {
                layer::layer(p, h, kind, shared)
            });
        }
        layer::norm(p, "norm", h, config)
    });
    p.output(output);
    (builder.finish(), TextEncoderPorts { ids, rope, output })
}

/// Factor on the embedding: the square root of its width, which the reference rounds to bf16 (59.75 for 3584).
pub fn embed_scale(hidden_size: usize) -> f32 {
    half::bf16::from_f64((hidden_size as f64).sqrt()).to_f32()
}

/// The rotation's table `[tokens, head_dim]` f32: sines, then cosines of each position's angles `pos theta^(-2 i /
/// head_dim)`. Frequencies and angles are f32, as in the reference (`T5GemmaRotaryEmbedding`).
pub fn rope_table(config: &TextEncoderConfig, tokens: usize) -> Tensor {
    let half = config.head_dim / 2;
    let frequency = |i: usize| -> f32 {
        let exponent = -2.0 * i as f64 / config.head_dim as f64;
        config.rope_theta.powf(exponent) as f32
    };
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let mut values = Vec::with_capacity(tokens * config.head_dim);
    for position in 0..tokens {
        let angle = |f: &f32| f64::from(position as f32 * f);
        values.extend(frequencies.iter().map(|f| angle(f).sin() as f32));
        values.extend(frequencies.iter().map(|f| angle(f).cos() as f32));
    }
    Tensor::from_f32([tokens, config.head_dim], &values)
}

/// Conditioning of the denoising network: the first [`MAX_FEATURES`] rows of the encoder's output `[T, H]`, rounded to
/// f16, as f32. The rows are cut after encoding, so the tokens cut off have still been seen by the others.
pub fn features(output: &Tensor) -> Tensor {
    let width = output.shape().cols();
    let rows = output.shape().rows().min(MAX_FEATURES);
    let mut values = vec![0.0; rows * width];
    output.read_f32(0..rows * width, &mut values);
    values.iter_mut().for_each(|v| *v = DType::F16.round(*v));
    Tensor::from_f32([rows, width], &values)
}
