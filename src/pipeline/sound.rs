//! Audio: latents to a waveform, and a voice track to latents.

use std::ops::Range;

use super::Context;
use crate::{
    Error, Result, Tensor,
    executor::Program,
    media::merge_windows,
    model::audio_vae::{self, AudioVaeConfig},
    weights::Weights,
};

/// Most latents of one run, so that memory does not grow with the clip: 128 MiB for each of the largest buffers at the
/// published width.
const TILE: usize = 128;

/// Decodes `latent` f32 `[L, latent channels]` to a waveform f32 `[hop * L, wave channels]` at 51 200 Hz.
///
/// # Errors
/// [`Error::Weights`] for tensors that are missing or do not match,
/// [`Error::Memory`], [`Error::Device`],
/// [`Error::Interrupted`].
///
/// # Panics
/// If `latent` is empty or has another number of channels.
pub fn decode_sound(
    context: &Context<'_>,
    weights: &Weights,
    config: &AudioVaeConfig,
    latent: &Tensor,
) -> Result<Tensor> {
    decode_tiled(context, weights, config, latent, TILE)
}

/// Encodes a voice track, mono f32 samples at 51 200 Hz, to f32 `[L, latent channels]`. A track longer than 29 s is
/// encoded in overlapping windows that are merged ([`audio_vae::windows`]).
///
/// `noise` holds the deviations of latents from their means in standard deviations, `[latents of all windows, latent
/// channels]`, window after window ([`noise_len`] values). Without it latents are their means, and so deterministic.
///
/// # Errors
/// [`Error::Input`] for a track shorter than one latent; also as [`decode_sound`].
///
/// # Panics
/// If `noise` has another length.
pub fn encode_voice(
    context: &Context<'_>,
    weights: &Weights,
    config: &AudioVaeConfig,
    mono: &[f32],
    mut noise: Option<&[f32]>,
) -> Result<Tensor> {
    if mono.len() < config.hop {
        let problem = format!(
            "must be at least {} samples at 51200 Hz; found {}",
            config.hop,
            mono.len()
        );
        return Err(Error::input("voice track", problem));
    }
    let channels = config.latent_channels;
    if let Some(noise) = noise {
        assert_eq!(
            noise.len(),
            noise_len(config, mono.len()),
            "noise of the voice track"
        );
    }
    let windows = audio_vae::windows(mono.len());
    let mut encoder = Encoder::new(context, weights, config, windows[0].len(), TILE)?;
    let mut latents = Vec::with_capacity(windows.len());
    for window in windows {
        let (mean, scale) = encoder.encode(&stereo(mono, window, config.wave_channels))?;
        let own = noise.map(|all| all.split_at(mean.len()));
        latents.push(audio_vae::latent(&mean, &scale, own.map(|(own, _)| own)));
        noise = own.map(|(_, rest)| rest);
    }
    let mut merged = merge_windows(&latents, channels);
    let count = audio_vae::latents(mono.len(), config.hop).min(merged.len() / channels);
    merged.truncate(count * channels);
    Ok(Tensor::from_f32([count, channels], &merged))
}

/// Number of noise values that [`encode_voice`] takes for a track of `samples` samples at 51 200 Hz.
pub fn noise_len(config: &AudioVaeConfig, samples: usize) -> usize {
    let windows = audio_vae::windows(samples);
    let latents = windows.iter().map(|window| window.len() / config.hop);
    latents.sum::<usize>() * config.latent_channels
}

/// Samples `window` of a mono track, repeated on every channel, zeros beyond its end: `[window, channels]`.
fn stereo(mono: &[f32], window: Range<usize>, channels: usize) -> Vec<f32> {
    let padded = window.map(|i| mono.get(i).copied().unwrap_or(0.0));
    padded
        .flat_map(|v| std::iter::repeat_n(v, channels))
        .collect()
}

fn decode_tiled(
    context: &Context<'_>,
    weights: &Weights,
    config: &AudioVaeConfig,
    latent: &Tensor,
    most: usize,
) -> Result<Tensor> {
    let (channels, width) = (config.latent_channels, config.hop * config.wave_channels);
    assert_eq!(
        latent.shape().cols(),
        channels,
        "channels of an audio latent {}",
        latent.shape()
    );
    let latents = latent.to_f32();
    let count = latents.len() / channels;
    let (length, tiles) = tiles(count, most, audio_vae::decode_context(config));
    let (plan, ports) = audio_vae::decode(config, length);
    let mut program = context.prepare(plan, weights)?;
    let mut wave = Vec::with_capacity(count * width);
    for Tile { start, keep } in tiles {
        let piece = &latents[start * channels..(start + length) * channels];
        program.write(ports.latent, &Tensor::from_f32([length, channels], piece))?;
        program.run()?;
        let samples = program.read(ports.wave)?;
        wave.extend_from_slice(
            &samples.to_f32()[(keep.start - start) * width..(keep.end - start) * width],
        );
    }
    Ok(Tensor::from_f32(
        [count * config.hop, config.wave_channels],
        &wave,
    ))
}

/// An encoder for waveforms of one length.
struct Encoder<'a> {
    config: &'a AudioVaeConfig,
    program: Box<dyn Program>,
    ports: audio_vae::EncoderPorts,
    /// Samples per run.
    length: usize,
    tiles: Vec<Tile>,
}

impl<'a> Encoder<'a> {
    fn new(
        context: &Context<'_>,
        weights: &Weights,
        config: &'a AudioVaeConfig,
        samples: usize,
        most: usize,
    ) -> Result<Self> {
        let (length, tiles) = tiles(
            samples / config.hop,
            most,
            audio_vae::encode_context(config),
        );
        // The last latents depend on the partial hop at the end too, so every tile is longer by as much.
        let length = length * config.hop + samples % config.hop;
        let (plan, ports) = audio_vae::encode(config, length);
        let program = context.prepare(plan, weights)?;
        Ok(Self {
            config,
            program,
            ports,
            length,
            tiles,
        })
    }

    /// Mean and scale `[L, latent channels]` of the latents of `wave` `[samples, channels]`.
    fn encode(&mut self, wave: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let AudioVaeConfig {
            hop,
            wave_channels,
            latent_channels,
            ..
        } = *self.config;
        let (mut mean, mut scale) = (Vec::new(), Vec::new());
        for Tile { start, keep } in &self.tiles {
            let first = start * hop;
            let piece = &wave[first * wave_channels..(first + self.length) * wave_channels];
            let piece = Tensor::from_f32([self.length, wave_channels], piece);
            self.program.write(self.ports.wave, &piece)?;
            self.program.run()?;
            let kept = (keep.start - start) * latent_channels..(keep.end - start) * latent_channels;
            for (port, all) in [(self.ports.mean, &mut mean), (self.ports.scale, &mut scale)] {
                all.extend_from_slice(&self.program.read(port)?.to_f32()[kept.clone()]);
            }
        }
        Ok((mean, scale))
    }
}

/// Consecutive latents that are run at once.
#[derive(Debug, PartialEq)]
struct Tile {
    /// Its first latent.
    start: usize,
    /// The latents of the clip that are taken from it: those whose receptive field lies in the tile.
    keep: Range<usize>,
}

/// Splits `count` latents into tiles of one length, at most `most` but at least one latent with `context` neighbours
/// on either side. Returns the length too.
fn tiles(count: usize, most: usize, context: usize) -> (usize, Vec<Tile>) {
    if count <= most.max(2 * context + 1) {
        return (
            count,
            vec![Tile {
                start: 0,
                keep: 0..count,
            }],
        );
    }
    let inner = count - 2 * context;
    let number = inner.div_ceil(most.saturating_sub(2 * context).max(1));
    let step = inner.div_ceil(number);
    let length = step + 2 * context;
    let tile = |i: usize| Tile {
        start: (i * step).min(count - length),
        keep: if i == 0 { 0 } else { i * step + context }..if i + 1 == number {
            count
        } else {
            (i + 1) * step + context
        },
    };
    (length, (0..number).map(tile).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        executor::required_tensors,
        model::audio_vae::Stages,
        plan::Plan,
        weights::{Architecture, Synthetic, synthetic},
    };

    /// The published depth at tiny widths and small strides, so that tiles can be a few latents.
    fn config() -> AudioVaeConfig {
        let stages = Stages {
            widths: vec![4, 4, 8, 8],
            strides: vec![2, 4, 8],
        };
        AudioVaeConfig {
            latent_channels: 6,
            wave_channels: 2,
            hop: 64,
            encoder: stages.clone(),
            decoder: stages,
        }
    }

    fn weights(plan: &Plan) -> Weights {
        let source = Synthetic::new(Architecture::AudioVae, &required_tensors(plan), 7).unwrap();
        Weights::new(Box::new(source))
    }

    fn numbers(count: usize) -> Vec<f32> {
        let key = synthetic::key("input", 7);
        let rule = synthetic::Rule::Uniform {
            offset: 0.0,
            scale: 1.0,
            dtype: crate::DType::F32,
        };
        (0..count as u64).map(|i| rule.value(key, i)).collect()
    }

    #[test]
    fn tiles_cover_every_latent_once_with_its_context() {
        for (count, most, context) in [(5, 8, 2), (8, 8, 2), (9, 8, 2), (251, 128, 10), (40, 1, 3)]
        {
            let (length, tiles) = tiles(count, most, context);
            let mut next = 0;
            for Tile { start, keep } in &tiles {
                assert_eq!(keep.start, next, "{count} {most} {context}");
                next = keep.end;
                let end = start + length;
                assert!(end <= count && keep.start >= *start && keep.end <= end);
                assert!(*start == 0 || keep.start >= start + context);
                assert!(end == count || keep.end + context <= end);
            }
            assert_eq!(next, count);
            assert!(length <= most.max(2 * context + 1));
        }
        assert_eq!(tiles(251, 128, 10).0, 97);
    }

    #[test]
    fn decoding_in_tiles_gives_the_same_bits() {
        let config = config();
        let weights = weights(&audio_vae::decode(&config, 1).0);
        let context = Context::new(&Cpu);
        let latent = Tensor::from_f32([61, 6], &numbers(61 * 6));
        let decode = |most| decode_tiled(&context, &weights, &config, &latent, most).unwrap();
        let whole = decode(61);
        assert_eq!(whole.shape(), &[61 * 64, 2].into());
        for most in [1, 40] {
            assert_eq!(decode(most).to_f32(), whole.to_f32(), "tiles of {most}");
        }
    }

    #[test]
    fn encoding_in_tiles_gives_the_same_bits() {
        let config = config();
        let weights = weights(&audio_vae::encode(&config, 64).0);
        let context = Context::new(&Cpu);
        for samples in [61 * 64, 61 * 64 + 63] {
            let wave = numbers(2 * samples);
            let encode = |most| {
                let mut encoder = Encoder::new(&context, &weights, &config, samples, most).unwrap();
                encoder.encode(&wave).unwrap()
            };
            let whole = encode(61);
            assert_eq!(whole.0.len(), 61 * 6);
            for most in [1, 40] {
                assert_eq!(encode(most), whole, "{samples} samples in tiles of {most}");
            }
        }
    }

    #[test]
    fn noise_moves_a_latent_by_its_deviation_and_short_tracks_are_refused() {
        let config = config();
        let weights = weights(&audio_vae::encode(&config, 64).0);
        let context = Context::new(&Cpu);
        let mono = numbers(64 * 3 + 5);
        let encode = |mono: &[f32], noise: Option<Vec<f32>>| {
            encode_voice(&context, &weights, &config, mono, noise.as_deref())
        };
        let count = noise_len(&config, mono.len());
        assert_eq!(count, 3 * 6);
        let mean = encode(&mono, None).unwrap();
        assert_eq!(mean.shape(), &[3, 6].into());
        let still = encode(&mono, Some(vec![0.0; count])).unwrap();
        assert_eq!(still.to_f32(), mean.to_f32());
        let moved = encode(&mono, Some(vec![1.0; count])).unwrap();
        let above = moved
            .to_f32()
            .iter()
            .zip(mean.to_f32().iter())
            .all(|(a, b)| a > b);
        assert!(above);
        let error = encode(&mono[..63], None).unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }
}
