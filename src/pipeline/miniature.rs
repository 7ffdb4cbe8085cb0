//! The built-in miniature: the whole architecture at tiny widths, trained on a small world of moving shapes and their
//! sounds.
//!
//! Its sizes and weights are in files of the published formats, so it is also the smallest example of a model folder:
//! `gallop dev synth --config miniature` writes one. Only the components that a clip from a prompt needs are trained
//! ([`is_trained`]); the others have synthetic weights, generated at start, and give noise. `tools/miniature` holds
//! the training.

pub mod words;

use std::path::Path;

use super::{
    networks::{ModelConfigs, NetworkConfig, network_of},
    notice::Notice,
    request::{Defaults, Job, Request, Size, VideoDecoder},
};
use crate::{
    Error, Result,
    error::{Field, Hint},
    weights::{Component, Properties, Safetensors, Synthetic, Variant},
};

/// Size at which it was trained, pixels (width, height).
pub const TRAINED_SIZE: (usize, usize) = (96, 96);

/// Length at which it was trained, 49 frames, seconds.
const TRAINED_SECONDS: f64 = 1.96;

/// Defaults, as in training: a clip in seconds on two cores.
pub const DEFAULTS: Defaults = Defaults {
    size: Size::Exact(TRAINED_SIZE.0, TRAINED_SIZE.1),
    scale: 4,
    seconds: 2,
};

/// Text encoder, `config.json`.
const TEXT_ENCODER: &str = r#"{
  "model_type": "t5gemma",
  "encoder": {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "intermediate_size": 512,
    "query_pre_attn_scalar": 64,
    "attn_logit_softcapping": 50.0,
    "sliding_window": 4096,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-06,
    "vocab_size": 3000,
    "hidden_activation": "gelu_pytorch_tanh",
    "attention_bias": false
  }
}
"#;

/// Denoising networks.
const DIT: &str = r#"{
  "num_layers": 4,
  "hidden_size": 256,
  "head_dim": 128,
  "num_heads_q": 2,
  "num_heads_kv": 1,
  "video_in_channels": 192,
  "audio_in_channels": 64,
  "text_in_channels": 128,
  "mm_layers": [0],
  "gelu7_layers": [0],
  "local_attn_layers": [],
  "post_norm_layers": [],
  "enable_attn_gating": true
}
"#;

/// Fast video decoder.
const TURBO: &str = r#"{
  "latent_channels": 48,
  "out_channels": 3,
  "decoder_block_out_channels": [16, 16, 32, 64],
  "decoder_layers_per_block": [1, 1, 1, 1, 1],
  "decoder_spatio_temporal_scaling": [false, true, true, true],
  "decoder_spatio_only": [false, true, false, false],
  "decoder_is_dw_conv": [false, false, false, false, false],
  "decoder_dw_kernel_size": 5,
  "decoder_causal": false,
  "patch_size": 2,
  "patch_size_t": 1,
  "resnet_norm_eps": 1e-06,
  "spatial_compression_ratio": 16,
  "temporal_compression_ratio": 4,
  "first_chunk_size": 7,
  "step_size": 7,
  "use_unpatchify": true
}
"#;

/// Full video autoencoder.
const WAN: &str = r#"{
  "dim": 16,
  "dec_dim": 16,
  "z_dim": 48,
  "dim_mult": [1, 2, 4, 4],
  "num_res_blocks": 1,
  "temporal_downsample": [false, true, true],
  "patch_size": 2
}
"#;

/// Audio autoencoder, `model_config.json`.
const AUDIO: &str = r#"{
  "model": {
    "pretransform": {
      "config": {
        "encoder": {
          "type": "oobleck",
          "config": {
            "in_channels": 2,
            "channels": 8,
            "c_mults": [1, 2, 4, 8, 16],
            "strides": [2, 4, 4, 8, 8],
            "latent_dim": 128,
            "use_snake": true
          }
        },
        "decoder": {
          "type": "oobleck",
          "config": {
            "out_channels": 2,
            "channels": 8,
            "c_mults": [1, 2, 4, 8, 16],
            "strides": [2, 4, 4, 8, 8],
            "latent_dim": 64,
            "use_snake": true,
            "final_tanh": false
          }
        },
        "bottleneck": { "type": "vae" },
        "latent_dim": 64,
        "downsampling_ratio": 2048,
        "io_channels": 2
      }
    }
  }
}
"#;

/// The manifest of a model folder with it.
pub const MANIFEST: &str = r#"{
  "base": { "path": "base", "config": "dit.json" },
  "distill": { "path": "distill", "config": "dit.json" },
  "540p_sr": { "path": "540p_sr", "config": "dit.json" },
  "1080p_sr": { "path": "1080p_sr", "config": "dit.json", "local_layers": [1, 2] },
  "wan_vae": { "path": "Wan2.2_VAE.safetensors", "config": "wan.json" }
}
"#;

/// Its tokenizer: 3000 pieces, structured like the published tokenizer, with a piece for every byte.
pub const TOKENIZER: &[u8] = include_bytes!("miniature/tokenizer.json");

/// Prompt if none is given.
pub const PROMPT: &str = "A big red ball bounces on a floor.";

/// Files of its trained components. Of the audio autoencoder only the decoder is trained.
fn file(part: Component) -> Option<&'static [u8]> {
    Some(match part {
        Component::TextEncoder => include_bytes!("miniature/text.safetensors"),
        Component::Dit(Variant::Distill) => include_bytes!("miniature/distill.safetensors"),
        Component::TurboVae => include_bytes!("miniature/turbo_vae.safetensors"),
        Component::AudioVae => include_bytes!("miniature/audio_vae.safetensors"),
        _ => return None,
    })
}

/// Whether a component is trained, as far as a clip from a prompt needs it.
pub fn is_trained(part: Component) -> bool {
    part == Component::Tokenizer || file(part).is_some()
}

/// Refuses inputs whose encoders are not trained.
///
/// # Errors
/// [`Error::Request`] for an image or a voice track.
pub fn check(request: &Request) -> Result<()> {
    let inputs = [
        (Field::Image, &request.image, "image"),
        (Field::Audio, &request.audio, "audio"),
    ];
    for (field, input, part) in inputs {
        if let Some(input) = input {
            let expected = format!(
                "needs the weights of a full model, since the miniature has no trained {part} encoder"
            );
            let error = Error::request(field, expected).found(input.name());
            return Err(error.with_hint(Hint::Give(Field::Model)));
        }
    }
    Ok(())
}

/// Notices about what it cannot show of `request`, which was resolved to `job`.
pub fn limits(request: &Request, job: &Job) -> Vec<Notice> {
    let mut notices = vec![Notice::Miniature];
    let unknown = words::unknown(&request.prompt);
    if !unknown.is_empty() && request.text_features.is_none() {
        notices.push(Notice::UnknownWords(unknown));
    }
    let (size, seconds) = (job.pixels(), job.seconds());
    if (size, seconds) != (TRAINED_SIZE, TRAINED_SECONDS) {
        notices.push(Notice::BeyondTraining {
            size,
            seconds,
            trained_size: TRAINED_SIZE,
            trained_seconds: TRAINED_SECONDS,
        });
    }
    let base = Component::Dit(request.variant.network());
    let sr = job.sr.map(|(sr, _)| Component::Dit(sr.network()));
    let wan = (request.decoder == VideoDecoder::Wan).then_some(Component::WanVae);
    let parts = [
        (Some(base), Field::Variant),
        (sr, Field::Size),
        (wan, Field::Decoder),
    ];
    for (part, field) in parts {
        let untrained = part.filter(|part| !is_trained(*part));
        notices.extend(untrained.map(|part| Notice::UntrainedPart { part, field }));
    }
    notices
}

/// Its weights: trained where it has them, otherwise synthetic.
///
/// # Errors
/// [`Error::Weights`] if a file in the program is damaged, which tests rule out.
pub fn weights(part: Component) -> Result<Synthetic> {
    let made = Synthetic::new(
        network_of(part),
        &sizes(part).required_tensors(),
        seed(part),
    )?;
    match file(part) {
        Some(bytes) => made.with(Box::new(Safetensors::built_in("miniature", bytes)?)),
        None => Ok(made),
    }
}

/// Layers of the 1080p network with local attention.
const LOCAL_LAYERS: [usize; 2] = [1, 2];

/// The configurations of all its networks.
pub fn networks() -> ModelConfigs {
    let all = ModelConfigs::new("miniature", DEFAULTS, |part| Ok(sizes(part)), properties);
    all.expect("the miniature's sizes are valid")
}

/// How a denoising network is sampled.
pub fn properties(variant: Variant) -> Properties {
    Properties {
        local_layers: match variant {
            Variant::Sr1080p => LOCAL_LAYERS.to_vec(),
            Variant::Base | Variant::Distill | Variant::Sr540p => vec![],
        },
        ..variant.published()
    }
}

/// The configuration of a component.
///
/// # Panics
/// For the tokenizer, which has no sizes.
pub fn sizes(part: Component) -> NetworkConfig {
    let parsed = NetworkConfig::parse(part, config(part), Path::new("miniature"));
    parsed.expect("the miniature's sizes are valid")
}

/// JSON of a component's sizes, in the published form.
pub fn config(part: Component) -> &'static str {
    match part {
        Component::Tokenizer => "",
        Component::TextEncoder => TEXT_ENCODER,
        Component::Dit(_) => DIT,
        Component::TurboVae => TURBO,
        Component::WanVae => WAN,
        Component::AudioVae => AUDIO,
    }
}

/// Seed of a component's synthetic weights.
pub fn seed(part: Component) -> u64 {
    match part {
        Component::Tokenizer | Component::TextEncoder => 1,
        Component::Dit(Variant::Base) => 2,
        Component::Dit(Variant::Distill) => 3,
        Component::Dit(Variant::Sr540p) => 4,
        Component::Dit(Variant::Sr1080p) => 5,
        Component::TurboVae => 6,
        Component::WanVae => 7,
        Component::AudioVae => 8,
    }
}
