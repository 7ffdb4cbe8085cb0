//! Sizes of a T5Gemma encoder, from the checkpoint's `config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, Result};

/// Largest extents that are accepted: far beyond any published model, small enough that no product overflows.
const MAX_LAYERS: usize = 1 << 10;
const MAX_WIDTH: usize = 1 << 20;
const MAX_VOCAB: usize = 1 << 24;

/// Sizes of the encoder; fields are called as in `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TextEncoderConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads, each shared by the same number of query heads.
    pub num_key_value_heads: usize,
    /// Elements of a head; even. All heads together may be narrower or wider than the residual stream.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Logits are scaled by one over the square root of this; it may differ from `head_dim`.
    pub query_pre_attn_scalar: f64,
    /// Soft-cap on the logits. The reference's file has one, but its attention (SDPA) ignores it.
    pub attn_logit_softcapping: Option<f64>,
    /// In a sliding layer a token sees the tokens less than this far away, on both sides.
    pub sliding_window: usize,
    /// What each layer's tokens see; as many as there are layers.
    #[serde(skip)]
    pub layers: Vec<AttentionKind>,
    /// Base of the rotation's frequencies.
    pub rope_theta: f64,
    /// Added to the mean square in norms.
    pub rms_norm_eps: f64,
    /// Rows of the embedding that ids may name.
    pub vocab_size: usize,
}

/// Which tokens a token of a layer sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum AttentionKind {
    /// Those within the sliding window.
    #[serde(rename = "sliding_attention")]
    Sliding,
    /// All tokens.
    #[serde(rename = "full_attention")]
    Full,
}

impl TextEncoderConfig {
    /// Reads the text of a `config.json`; `path` is for messages.
    /// # Errors
    /// [`Error::Weights`] if it is not JSON, lacks a size or describes another kind of model.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let whole: Value = serde_json::from_str(text)
            .map_err(|e| Error::weights(path, format!("is not valid JSON: {e}")))?;
        let kind = whole["model_type"].as_str().unwrap_or("nothing");
        if kind != "t5gemma" {
            let problem = format!("must have the `model_type` `t5gemma`; found {kind}");
            return Err(Error::weights(path, problem));
        }
        let encoder = whole
            .get("encoder")
            .ok_or_else(|| Error::weights(path, "must hold an object `encoder`"))?;
        Self::from_value(encoder, path)
    }

    /// Reads the object `encoder` alone.
    ///
    /// # Errors
    /// As [`TextEncoderConfig::parse`].
    pub fn from_value(encoder: &Value, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::weights(path, format!("`encoder`: {problem}"));
        let file = File::deserialize(encoder).map_err(|e| bad(e.to_string()))?;
        file.check().map_err(bad)
    }
}

/// The JSON object as published; other keys are ignored.
#[derive(Deserialize)]
struct File {
    #[serde(flatten)]
    config: TextEncoderConfig,
    num_hidden_layers: usize,
    layer_types: Option<Vec<AttentionKind>>,
    rope_scaling: Option<Value>,
    hidden_activation: Option<String>,
    #[serde(default)]
    attention_bias: bool,
}

impl File {
    fn check(self) -> Result<TextEncoderConfig, String> {
        let config = &self.config;
        for (what, found, most) in [
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("hidden_size", config.hidden_size, MAX_WIDTH),
            ("num_attention_heads", config.num_attention_heads, MAX_WIDTH),
            ("num_key_value_heads", config.num_key_value_heads, MAX_WIDTH),
            ("head_dim", config.head_dim, MAX_WIDTH),
            ("intermediate_size", config.intermediate_size, MAX_WIDTH),
            ("sliding_window", config.sliding_window, usize::MAX),
            ("vocab_size", config.vocab_size, MAX_VOCAB),
            (
                "num_attention_heads * head_dim",
                config.num_attention_heads.saturating_mul(config.head_dim),
                MAX_WIDTH,
            ),
        ] {
            if !(1..=most).contains(&found) {
                return Err(format!("`{what}` must be 1 to {most}; found {found}"));
            }
        }
        let positive = [
            ("query_pre_attn_scalar", Some(config.query_pre_attn_scalar)),
            ("attn_logit_softcapping", config.attn_logit_softcapping),
            ("rope_theta", Some(config.rope_theta)),
            ("rms_norm_eps", Some(config.rms_norm_eps)),
        ];
        for (what, found) in positive {
            if let Some(value) = found.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return Err(format!("`{what}` must be above 0; found {value}"));
            }
        }
        self.check_relations()?;
        let alternating = |layer: usize| [AttentionKind::Sliding, AttentionKind::Full][layer % 2];
        let layers = self
            .layer_types
            .unwrap_or_else(|| (0..self.num_hidden_layers).map(alternating).collect());
        Ok(TextEncoderConfig {
            layers,
            ..self.config
        })
    }

    fn check_relations(&self) -> Result<(), String> {
        let config = &self.config;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "`num_key_value_heads` must divide `num_attention_heads`; found {kv_heads} and {heads}"
            ));
        }
        if !config.head_dim.is_multiple_of(2) {
            return Err(format!(
                "`head_dim` must be even; found {}",
                config.head_dim
            ));
        }
        if let Some(types) = &self.layer_types
            && types.len() != self.num_hidden_layers
        {
            return Err(format!(
                "`layer_types` must name {} layers; found {}",
                self.num_hidden_layers,
                types.len()
            ));
        }
        if let Some(other) = self
            .hidden_activation
            .as_deref()
            .filter(|name| *name != "gelu_pytorch_tanh")
        {
            return Err(format!(
                "`hidden_activation` must be `gelu_pytorch_tanh`; found `{other}`"
            ));
        }
        if self.attention_bias {
            return Err("`attention_bias` must be false; found true".into());
        }
        if let Some(scaling) = &self.rope_scaling {
            return Err(format!("`rope_scaling` must be null; found {scaling}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The published values, with the other keys that the file has.
    fn published() -> Value {
        json!({
            "model_type": "t5gemma", "is_encoder_decoder": true, "eos_token_id": [1, 107],
            "architectures": ["T5GemmaForConditionalGeneration"], "pad_token_id": 0,
            "decoder": {"hidden_size": "not read"},
            "encoder": {
                "num_hidden_layers": 42, "hidden_size": 3584, "num_attention_heads": 16,
                "num_key_value_heads": 8, "head_dim": 256, "intermediate_size": 14336,
                "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "sliding_window": 4096,
                "rope_theta": 10000.0, "rms_norm_eps": 1e-6, "vocab_size": 256_000,
                "max_position_embeddings": 8192, "hidden_activation": "gelu_pytorch_tanh",
                "attention_bias": false, "dropout_rate": 0.0, "final_logit_softcapping": 30.0,
                "torch_dtype": "bfloat16"
            }
        })
    }

    fn parse(value: &Value) -> Result<TextEncoderConfig> {
        TextEncoderConfig::parse(&value.to_string(), Path::new("config.json"))
    }

    #[test]
    fn the_published_file_is_read_and_layers_alternate_where_it_does_not_say() {
        let config = parse(&published()).unwrap();
        assert_eq!((config.layers.len(), config.hidden_size), (42, 3584));
        assert_eq!(
            config.layers[..3],
            [
                AttentionKind::Sliding,
                AttentionKind::Full,
                AttentionKind::Sliding
            ]
        );
        assert_eq!(config.attn_logit_softcapping, Some(50.0));
    }

    #[test]
    fn other_models_are_refused_by_the_field_that_differs() {
        for (field, value) in [
            ("hidden_activation", json!("gelu")),
            ("attention_bias", json!(true)),
            ("rope_scaling", json!({"type": "linear"})),
            ("num_key_value_heads", json!(3)),
            ("num_key_value_heads", json!(0)),
            ("head_dim", json!(255)),
            ("head_dim", json!(u64::MAX)),
            ("layer_types", json!(["full_attention"])),
            ("layer_types", json!(["causal"])),
            ("query_pre_attn_scalar", json!(0)),
            ("rms_norm_eps", json!(-1e-6)),
            ("vocab_size", json!(1_u64 << 40)),
            ("hidden_size", json!(null)),
        ] {
            let mut file = published();
            file["encoder"][field] = value.clone();
            let error = parse(&file).expect_err(field);
            assert_eq!(error.exit_code(), 4);
            let text = error.to_string();
            assert!(text.starts_with("config.json: `encoder`: "), "{text}");
        }
        let mut file = published();
        file["model_type"] = json!("t5");
        let text = parse(&file).unwrap_err().to_string();
        assert_eq!(
            text,
            "config.json: must have the `model_type` `t5gemma`; found t5"
        );
        assert!(TextEncoderConfig::parse("{", Path::new("config.json")).is_err());
    }
}
