//! Offset, scale and stored type of every tensor of a synthetic checkpoint, per network.
//!
//! The scales keep activations near one throughout and put clamps and soft masks to use, so that a mistake shows. `K`
//! below is the number of values that an output sums over.

use super::random::unit;
use crate::{DType, Shape, tensor::ROPE_BANDS};

/// A network whose tensors have rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// The denoising network.
    Dit,
    /// T5Gemma's encoder; names with or without `model.`.
    TextEncoder,
    /// Either video autoencoder, names without `module.`.
    VideoVae,
    /// The audio autoencoder; names with or without `pretransform.model.`.
    AudioVae,
}

impl Architecture {
    /// The published name of a tensor, from which its key is made.
    pub fn published(self, name: &str) -> String {
        let prefix = match self {
            Self::Dit | Self::VideoVae => "",
            Self::TextEncoder => "model.",
            Self::AudioVae => "pretransform.model.",
        };
        let rest = name.strip_prefix(prefix).unwrap_or(name);
        format!("{prefix}{rest}")
    }
}

/// How the values of a tensor are generated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `offset + scale * u` for `u` in (-1, 1).
    Uniform {
        /// The middle.
        offset: f32,
        /// Half the width.
        scale: f32,
        /// Stored type, f32 or bf16.
        dtype: DType,
    },
    /// The 16 rotation bands, which are constants.
    Bands,
}

impl Rule {
    /// Stored type.
    pub fn dtype(self) -> DType {
        match self {
            Self::Uniform { dtype, .. } => dtype,
            Self::Bands => DType::F32,
        }
    }

    /// Element `index` (row-major) of the tensor with this key, before rounding to the stored type.
    pub fn value(self, key: u64, index: u64) -> f32 {
        match self {
            Self::Uniform { offset, scale, .. } => {
                to_f32(f64::from(offset) + f64::from(scale) * unit(key, index))
            }
            Self::Bands => {
                let band = usize::try_from(index).ok().and_then(|i| ROPE_BANDS.get(i));
                f32::from_bits(*band.expect("the tensor has sixteen values"))
            }
        }
    }
}

/// The rule of the tensor `name` of this shape. `sibling` gives the shape of another tensor of the network:
/// the gain of a weight-normalised transposed convolution depends on its kernel.
///
/// # Errors
/// A sentence if the network has no tensor with this name or shape.
pub fn rule(
    network: Architecture,
    name: &str,
    shape: &Shape,
    sibling: impl Fn(&str) -> Option<Shape>,
) -> Result<Rule, String> {
    let found = match network {
        Architecture::Dit => dit(name, shape),
        Architecture::TextEncoder => text_encoder(name, shape),
        Architecture::VideoVae => video_vae(name, shape),
        Architecture::AudioVae => audio_vae(name, shape, sibling),
    };
    found.ok_or_else(|| format!("{shape} has no rule for {network:?}"))
}

fn dit(name: &str, shape: &Shape) -> Option<Rule> {
    let matrix = |gain, dtype| uniform(0.0, fan_in(gain, shape.cols()), dtype);
    let ends = |end: &str| name.ends_with(end);
    if name == "adapter.rope.bands" {
        (shape.extents() == [16]).then_some(Rule::Bands)
    } else if ends(".attention.linear_qkv.weight") {
        matrix(1.0, DType::Bf16)
    } else if ends(".attention.linear_proj.weight") || ends(".mlp.up_gate_proj.weight") {
        matrix(2.0, DType::Bf16)
    } else if ends(".mlp.down_proj.weight") {
        matrix(0.25, DType::Bf16)
    } else if ends(".q_norm.weight") || ends(".k_norm.weight") {
        uniform(0.5, 0.25, DType::F32)
    } else if ends(".pre_norm.weight")
        || ends("_post_norm.weight")
        || name.starts_with("final_norm_")
        || (name.starts_with("adapter.") && ends("_embedder.bias"))
    {
        uniform(0.0, 0.25, DType::F32)
    } else if name.starts_with("final_linear_")
        || (name.starts_with("adapter.") && ends("_embedder.weight"))
    {
        matrix(1.0, DType::F32)
    } else {
        None
    }
}

fn text_encoder(name: &str, shape: &Shape) -> Option<Rule> {
    let ends = |end: &str| name.ends_with(end);
    let scale = if ends("norm.weight") {
        0.25
    } else if ends(".self_attn.q_proj.weight") {
        fan_in(2.0, shape.cols())
    } else if ends("_proj.weight") || ends(".embed_tokens.weight") {
        fan_in(1.0, shape.cols())
    } else {
        return None;
    };
    uniform(0.0, scale, DType::Bf16)
}

fn video_vae(name: &str, shape: &Shape) -> Option<Rule> {
    match name.rsplit_once('.')?.1 {
        "weight" => uniform(0.0, fan_in(1.0, beyond_first(shape)), DType::F32),
        "bias" => uniform(0.0, 0.125, DType::F32),
        "gamma" => uniform(1.0, 0.125, DType::F32),
        _ => None,
    }
}

fn audio_vae(name: &str, shape: &Shape, sibling: impl Fn(&str) -> Option<Shape>) -> Option<Rule> {
    let (layer, last) = name.rsplit_once('.')?;
    match last {
        "weight_v" => uniform(0.0, fan_in(1.0, beyond_first(shape)), DType::F32),
        "bias" => uniform(0.0, 0.0625, DType::F32),
        "alpha" | "beta" => uniform(0.0, 0.5, DType::F32),
        "weight_g" => {
            // `layers.<block>.layers.<unit>.layers.3` ends a residual unit; `decoder.layers.<block>.layers.1` is a
            // block's transposed convolution.
            let depth = layer.matches("layers.").count();
            let gain = if depth == 3 && layer.ends_with(".layers.3") {
                0.5
            } else if depth == 2 && layer.contains("decoder.") && layer.ends_with(".layers.1") {
                transposed_gain(&sibling(&format!("{layer}.weight_v"))?)?
            } else {
                0.75
            };
            uniform(to_f32(gain), to_f32(gain / 8.0), DType::F32)
        }
        _ => None,
    }
}

/// `0.75 sqrt(s Cout / Cin)` of a transposed convolution `[Cin, Cout, 2 s]`.
fn transposed_gain(weight_v: &Shape) -> Option<f64> {
    let [inputs, outputs, kernel] = *weight_v.extents() else {
        return None;
    };
    let stride = (kernel / 2) as f64;
    Some(0.75 * (stride * outputs as f64 / inputs as f64).sqrt())
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the rules answer `None` for names they do not know"
)]
fn uniform(offset: f32, scale: f32, dtype: DType) -> Option<Rule> {
    Some(Rule::Uniform {
        offset,
        scale,
        dtype,
    })
}

/// `gain * sqrt(3/K)`: unit inputs give outputs of variance `gain^2`.
fn fan_in(gain: f64, k: usize) -> f32 {
    to_f32(gain * (3.0 / k as f64).sqrt())
}

fn beyond_first(shape: &Shape) -> usize {
    shape.extents().iter().skip(1).product()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the one rounding from f64 to f32 that the rule asks for"
)]
fn to_f32(value: f64) -> f32 {
    value as f32
}
