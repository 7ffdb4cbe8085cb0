//! A waveform to the mean and scale of its latents, and those to a latent. Reference:
//! `model/sa_audio/sa_audio_module.py`, `OobleckEncoder`.

use super::{
    config::{AudioVaeConfig, Stages},
    layers::{Kernel, UNITS_REACH, conv, conv_down, residual_units},
};
use crate::{
    DType,
    plan::{Buf, Builder, Plan},
};

/// Taps of the first and the last convolution.
const FIRST_TAPS: usize = 7;
const LAST_TAPS: usize = 3;

/// Buffers of [`encode`].
#[derive(Clone, Copy, Debug)]
pub struct EncoderPorts {
    /// Input `[samples, wave_channels]` f32, at 51 200 Hz.
    pub wave: Buf,
    /// Output `[samples / hop, latent_channels]` f32: the mean.
    pub mean: Buf,
    /// Output of the same shape: the argument of [`stdev`].
    pub scale: Buf,
}

/// Plan that encodes `samples` samples to `samples / hop` latents, rounded down.
///
/// # Panics
/// If `samples` is less than the hop.
pub fn encode(config: &AudioVaeConfig, samples: usize) -> (Plan, EncoderPorts) {
    assert!(samples >= config.hop, "{samples} samples make no latent");
    let mut builder = Builder::new();
    let p = &mut builder;
    let wave = p.input("wave", [samples, config.wave_channels], DType::F32);
    let latents = config.latent_channels;
    let both = p.scope("encoder", |p| {
        let Stages { widths, strides } = &config.encoder;
        let (narrow, wide) = (widths[0], widths[strides.len()]);
        let first = Kernel::new([config.wave_channels, narrow], FIRST_TAPS);
        let mut x = p.segment("layers.0", |p| conv(p, wave, first, 1));
        for (stage, &stride) in strides.iter().enumerate() {
            let channels = [widths[stage], widths[stage + 1]];
            x = p.segment(format_args!("layers.{}", stage + 1), |p| {
                let x = residual_units(p, x, 0);
                let x = p.snake("layers.3", x);
                p.scope("layers.4", |p| conv_down(p, x, channels, stride))
            });
        }
        let x = p.snake(&format!("layers.{}", strides.len() + 1), x);
        let last = Kernel::new([wide, 2 * latents], LAST_TAPS);
        p.segment(format_args!("layers.{}", strides.len() + 2), |p| {
            conv(p, x, last, 1)
        })
    });
    p.output(both);
    let mean = p.cols(both, 0..latents);
    let scale = p.cols(both, latents..2 * latents);
    (builder.finish(), EncoderPorts { wave, mean, scale })
}

/// Receptive field on either side of a latent, in latents, rounded up; compare [`super::decode_context`].
pub fn encode_context(config: &AudioVaeConfig) -> usize {
    let strides = config.encoder.strides.iter().rev();
    let samples = strides.fold(LAST_TAPS / 2, |reach, stride| {
        reach * stride + 3 * stride / 2 + UNITS_REACH
    });
    (samples + FIRST_TAPS / 2).div_ceil(config.hop)
}

/// Standard deviation for the encoder's output `scale`: `ln(1 + e^scale) + 0.0001`. Reference: `VAEBottleneck` of
/// Stable Audio.
pub fn stdev(scale: f32) -> f32 {
    scale.max(0.0) + (-scale.abs()).exp().ln_1p() + 1e-4
}

/// The latent `mean + stdev(scale) * noise`, or `mean` without noise; all `[L, latent_channels]`, `noise` standard
/// normal.
///
/// # Panics
/// If the lengths differ.
pub fn latent(mean: &[f32], scale: &[f32], noise: Option<&[f32]>) -> Vec<f32> {
    let Some(noise) = noise else {
        return mean.to_vec();
    };
    assert!(
        mean.len() == scale.len() && mean.len() == noise.len(),
        "{} means, {} scales, {} noise",
        mean.len(),
        scale.len(),
        noise.len()
    );
    let pairs = scale
        .iter()
        .zip(noise)
        .map(|(&scale, noise)| stdev(scale) * noise);
    mean.iter()
        .zip(pairs)
        .map(|(mean, shift)| mean + shift)
        .collect()
}
