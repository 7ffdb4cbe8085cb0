//! Latents to a waveform. Reference: `model/sa_audio/sa_audio_module.py`, `OobleckDecoder`.

use super::{
    config::{AudioVaeConfig, Stages},
    layers::{Kernel, UNITS_REACH, conv, conv_up, residual_units},
};
use crate::{
    DType,
    plan::{Buf, Builder, Plan},
};

/// Taps of the first and last convolution.
const TAPS: usize = 7;

/// Buffers of [`decode`].
#[derive(Clone, Copy, Debug)]
pub struct DecoderPorts {
    /// Input `[latents, latent_channels]` f32.
    pub latent: Buf,
    /// Output `[hop * latents, wave_channels]` f32, at 51 200 Hz; magnitudes may exceed 1.
    pub wave: Buf,
}

/// Plan that decodes `latents` latents.
///
/// # Panics
/// If `latents` is zero.
pub fn decode(config: &AudioVaeConfig, latents: usize) -> (Plan, DecoderPorts) {
    assert!(latents > 0, "nothing to decode");
    let mut builder = Builder::new();
    let p = &mut builder;
    let latent = p.input("latent", [latents, config.latent_channels], DType::F32);
    let wave = p.scope("decoder", |p| {
        let Stages { widths, strides } = &config.decoder;
        let (narrow, wide) = (widths[0], widths[strides.len()]);
        let first = Kernel::new([config.latent_channels, wide], TAPS);
        let mut x = p.segment("layers.0", |p| conv(p, latent, first, 1));
        for (layer, stage) in (0..strides.len()).rev().enumerate() {
            let channels = [widths[stage + 1], widths[stage]];
            x = p.segment(format_args!("layers.{}", layer + 1), |p| {
                let x = p.snake("layers.0", x);
                let x = p.scope("layers.1", |p| conv_up(p, x, channels, strides[stage]));
                residual_units(p, x, 2)
            });
        }
        let x = p.snake(&format!("layers.{}", strides.len() + 1), x);
        let last = Kernel {
            bias: false,
            ..Kernel::new([narrow, config.wave_channels], TAPS)
        };
        p.segment(format_args!("layers.{}", strides.len() + 2), |p| {
            conv(p, x, last, 1)
        })
    });
    p.output(wave);
    (builder.finish(), DecoderPorts { latent, wave })
}

/// Receptive field on either side of a latent, in latents, rounded up: the samples of a latent are exact if so many
/// neighbours, or all up to the clip's end, were decoded with it.
pub fn decode_context(config: &AudioVaeConfig) -> usize {
    let samples = config
        .decoder
        .strides
        .iter()
        .fold(TAPS / 2, |reach, stride| {
            (reach + UNITS_REACH).div_ceil(*stride) + 1
        });
    samples + TAPS / 2
}
