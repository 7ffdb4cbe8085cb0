//! `--precision`, for the subcommands that run or plan the denoising networks.

use clap::Args;

use crate::pipeline::QuantizationPolicy;

/// The rules, for long help.
pub(super) const RULES: &str = "\
Which linear layers of the denoising networks are FP8. A rule is a value, fp8, bf16 or auto (as the checkpoint stores \
the weight: fp8 if packed, else bf16), with the place it holds for in front; rules are separated by commas and the last \
one that holds decides. A place is a layer (layers.4), layers (layers.0-3), a matmul (attention.linear_qkv, \
attention.linear_proj, mlp.up_gate_proj, mlp.down_proj; attention.core is bf16), or both (layers.0-3.mlp.down_proj). \
base: or sr: in front makes it a rule of that pass alone. Examples: fp8; fp8,layers.0-3=bf16,mlp.down_proj=bf16; \
fp8,sr:layers.38-39=bf16";

#[derive(Args, Debug)]
pub(super) struct PrecisionArgument {
    /// Which linear layers of the denoising networks are FP8: fp8, bf16, auto, or rules [see --help]
    #[arg(
        long = "precision",
        value_name = "RULES",
        default_value = "auto",
        long_help = RULES
    )]
    pub(super) formats: QuantizationPolicy,
}
