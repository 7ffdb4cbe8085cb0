//! The audio autoencoder of Stable Audio Open: `OobleckEncoder` and `OobleckDecoder` of stable-audio-tools.
//!
//! One latent is 2048 samples at 51 200 Hz, which is one video frame's worth. Everything is f32 and channels
//! last: latents `[L, 64]`, as the sampler has them, and waves `[samples, 2]`. Weights are called as in the
//! checkpoint, without its prefix `pretransform.model.`: `decoder.layers.0.weight_v`.
//!
//! The strides' order and the place of the residual units differ between the two halves. Read [`decode`] first.

mod config;
mod decoder;
mod encoder;
mod layers;
mod windows;

pub use config::{AudioVaeConfig, Stages};
pub use decoder::{DecoderPorts, decode, decode_context};
pub use encoder::{EncoderPorts, encode, encode_context, latent, stdev};
pub use windows::{WINDOW, latents, windows};
