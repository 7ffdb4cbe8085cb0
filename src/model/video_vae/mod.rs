//! The video autoencoders: two networks over one latent space of 48 channels; a latent position stands for 16x16
//! pixels and 4 frames.
//!
//! [`turbo`] is the small decoder, called once per chunk of frames ([`chunks`]). The Wan2.2 autoencoder is larger:
//! [`wan_encoder`] turns the first image into a latent frame, [`wan_decoder`] is the slow, full-quality decoder.
//! [`statistics`] scales latents to and from what the networks see.
//!
//! Inside, video is `[frames, height, width, channels]`; latents outside are `[48, frames, height, width]`. The output
//! of a module is the last buffer whose label is in its scope: `decoder.up_blocks.0...`.
//!
//! Reference: `model/turbo_vaed/turbo_vaed_module.py`, `TurboVAED`; `model/vae2_2/vae2_2_module.py`, `WanVAE_`.

pub mod chunks;
mod config;
pub mod statistics;
pub mod turbo;
mod turbo_block;
mod wan_block;
pub mod wan_decoder;
pub mod wan_encoder;

pub use chunks::{Chunks, DecoderCall};
pub use config::{TurboConfig, Upsample, WanConfig};
pub use statistics::LATENT_CHANNELS;

use crate::{
    DType,
    plan::{Buf, Builder, Conv3d, Kernel3d},
};

/// Element types a network is built with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VaePrecision {
    /// Of weights and biases as used.
    pub weights: DType,
    /// Of every result.
    pub activations: DType,
}

impl VaePrecision {
    /// As published: every result rounded to bf16.
    pub const BF16: Self = Self {
        weights: DType::Bf16,
        activations: DType::Bf16,
    };
    /// No rounding at all.
    pub const F32: Self = Self {
        weights: DType::F32,
        activations: DType::F32,
    };

    /// A convolution with a weight of this shape, `[outputs, inputs, extents of the kernel]`.
    fn kernel(self, shape: &[usize], conv: Conv3d) -> Kernel3d<'_> {
        Kernel3d {
            shape,
            conv,
            weight: self.weights,
            out: self.activations,
        }
    }
}

/// Buffers of a network's plan.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Input, `[frames, height, width, channels]`.
    pub input: Buf,
    /// Output, `[frames, height, width, channels]`.
    pub output: Buf,
}

/// Frames, height, width and channels of a video buffer.
fn extents(b: &Builder, x: Buf) -> [usize; 4] {
    let shape = b.shape(x);
    [shape[0], shape[1], shape[2], shape[3]]
}
