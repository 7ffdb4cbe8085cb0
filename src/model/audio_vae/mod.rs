//! The audio autoencoder: Oobleck of Stable Audio Open 1.0. Reference: `model/sa_audio/sa_audio_module.py`.
//!
//! One latent is 2048 samples at 51 200 Hz, as long as one video frame. Everything is f32, channels last: latents `[L,
//! 64]`, as the sampler has them, waveforms `[samples, 2]`. Weights have the checkpoint's names without the prefix
//! `pretransform.model.`: `decoder.layers.0.weight_v`.
//!
//! The two halves differ in the order of strides and in where the residual units are. Read [`decode`] first.

mod config;
mod decoder;
mod encoder;
mod layers;
mod windows;

pub use config::{AudioVaeConfig, Stages};
pub use decoder::{DecoderPorts, decode, decode_context};
pub use encoder::{EncoderPorts, encode, encode_context, latent, stdev};
pub use windows::{WINDOW, latents, windows};
