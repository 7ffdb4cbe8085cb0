//! Cases of the audio autoencoder. Everything is f32, so there is one precision.

use std::path::Path;

use super::{GoldenCase, Tensors, case::transposed};
use crate::{
    DType, Result, Tensor,
    executor::{Executor, Program},
    media::merge_windows,
    model::audio_vae::{self, AudioVaeConfig},
    plan::Plan,
    qualify::Check,
    weights::{
        Architecture,
        synthetic::{self, Rule},
    },
};

/// `oobleck.decode`: `z` `[1, 64, L]` to a waveform `[1, 2, 2048 L]`.
pub(super) fn decode(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let (config, tensors, allowed) = (config(case)?, case.tensors()?, allowed(case)?);
    let z = channels_last(case, &tensors, "z", config.latent_channels)?;
    let (plan, ports) = audio_vae::decode(&config, z.shape().rows());
    let mut program = case.program(executor, Architecture::AudioVae, &plan, true)?;
    program.write(ports.latent, &z)?;
    program.run()?;
    let wave = channels_first(&program.read(ports.wave)?);
    let mut checks = taps(&plan, &mut *program, &tensors, allowed)?;
    checks.push(tensors.relative_l2("wave", &wave, "ref64", allowed)?);
    Ok(checks)
}

/// `oobleck.encode`: `wave` `[1, 2, N]` and `noise` to mean, standard deviation and latent `[1, 64, N / 2048]`.
pub(super) fn encode(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let (config, tensors, allowed) = (config(case)?, case.tensors()?, allowed(case)?);
    let wave = channels_last(case, &tensors, "wave", config.wave_channels)?;
    if wave.shape().rows() < config.hop {
        return Err(case.bad(format!("`wave` is shorter than {} samples", config.hop)));
    }
    let (plan, ports) = audio_vae::encode(&config, wave.shape().rows());
    let mut program = case.program(executor, Architecture::AudioVae, &plan, true)?;
    program.write(ports.wave, &wave)?;
    program.run()?;
    let (mean, scale) = (program.read(ports.mean)?, program.read(ports.scale)?);
    let noise = channels_last(case, &tensors, "noise", config.latent_channels)?;
    if noise.count() != mean.count() {
        return Err(case.bad(format!(
            "`noise` is {}, the mean {}",
            noise.shape(),
            mean.shape()
        )));
    }
    let stdev: Vec<f32> = scale
        .to_f32()
        .iter()
        .map(|&v| audio_vae::stdev(v))
        .collect();
    let latent = audio_vae::latent(&mean.to_f32(), &scale.to_f32(), Some(&noise.to_f32()));
    let mut checks = taps(&plan, &mut *program, &tensors, allowed)?;
    for (name, values) in [
        ("mean", &*mean.to_f32()),
        ("stdev", &stdev),
        ("latent", &latent),
    ] {
        let got = channels_first(&Tensor::from_f32(mean.shape().clone(), values));
        checks.push(tensors.relative_l2(name, &got, &format!("ref64.{name}"), allowed)?);
    }
    Ok(checks)
}

/// `oobleck.encode_windowed`: a synthetic mono track in overlapping windows, without noise, to `[1, 64, L]`.
pub(super) fn encode_windowed(
    case: &GoldenCase<'_>,
    executor: &dyn Executor,
) -> Result<Vec<Check>> {
    let (config, tensors, allowed) = (config(case)?, case.tensors()?, allowed(case)?);
    let mono = synthetic_track(case)?;
    let windows = audio_vae::windows(mono.len());
    let samples = windows[0].len();
    let (plan, ports) = audio_vae::encode(&config, samples);
    let mut program = case.program(executor, Architecture::AudioVae, &plan, false)?;
    let mut latents = Vec::new();
    for window in windows {
        let padded = window.map(|i| mono.get(i).copied().unwrap_or(0.0));
        let wave: Vec<f32> = padded
            .flat_map(|v| std::iter::repeat_n(v, config.wave_channels))
            .collect();
        program.write(
            ports.wave,
            &Tensor::from_f32([samples, config.wave_channels], &wave),
        )?;
        program.run()?;
        latents.push(program.read(ports.mean)?.to_f32().into_owned());
    }
    let channels = config.latent_channels;
    let mut merged = merge_windows(&latents, channels);
    merged.truncate(audio_vae::latents(mono.len(), config.hop) * channels);
    let got = channels_first(&Tensor::from_f32(
        [merged.len() / channels, channels],
        &merged,
    ));
    Ok(vec![tensors.relative_l2("latent", &got, "ref64", allowed)?])
}

/// The synthetic mono track of a windowed case: the rule's tensor `input.NAME`.
fn synthetic_track(case: &GoldenCase<'_>) -> Result<Vec<f32>> {
    let samples = case.number(&["config", "samples"])?;
    if !(1.0..=1e8).contains(&samples) {
        return Err(case.bad(format!(
            "`config.samples` must be 1 to 1e8; found {samples}"
        )));
    }
    let key = synthetic::key(
        &format!("input.{}", case.name()),
        case.field("weights_seed")?,
    );
    let rule = Rule::Uniform {
        offset: 0.0,
        scale: 0.5,
        dtype: DType::F32,
    };
    Ok((0..samples as u64).map(|i| rule.value(key, i)).collect())
}

fn config(case: &GoldenCase<'_>) -> Result<AudioVaeConfig> {
    let value: serde_json::Value = case.field("config")?;
    AudioVaeConfig::from_value(&value, Path::new(case.name()))
}

/// Tolerance: three times the error of the reference in f32, but at least 1e-5.
fn allowed(case: &GoldenCase<'_>) -> Result<f64> {
    Ok((3.0 * case.number(&["errors", "up_vs_ref64_rel"])?).max(1e-5))
}

/// Checks every `tap.HALF.layers.N` against the last buffer of that layer.
fn taps(
    plan: &Plan,
    program: &mut dyn Program,
    tensors: &Tensors,
    allowed: f64,
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for name in tensors.labels() {
        let Some(layer) = name.strip_prefix("tap.") else {
            continue;
        };
        // A decoder stage ends with its last residual unit, an encoder stage with its strided convolution.
        let got = match plan.find(&format!("{layer}.layers.4")) {
            Some(buf) => channels_first(&program.read(buf)?),
            None => Vec::new(),
        };
        checks.push(tensors.relative_l2(name, &got, name, allowed)?);
    }
    Ok(checks)
}

/// The tensor `label` `[1, channels, N]` transposed to `[N, channels]`.
fn channels_last(
    case: &GoldenCase<'_>,
    tensors: &Tensors,
    label: &str,
    channels: usize,
) -> Result<Tensor> {
    let x = tensors.get(label)?;
    match *x.shape().extents() {
        [1, found, n] if found == channels && n > 0 => {
            Ok(Tensor::from_f32([n, channels], &transposed(&x.to_f32(), n)))
        }
        _ => Err(case.bad(format!(
            "`{label}` must be [1, {channels}, N]; found {}",
            x.shape()
        ))),
    }
}

/// The values of `[N, C]` transposed to `[C, N]`.
fn channels_first(x: &Tensor) -> Vec<f32> {
    transposed(&x.to_f32(), x.shape().cols())
}
