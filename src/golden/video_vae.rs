//! Cases of the video autoencoders in three precisions: without rounding, with bf16 weights only, and as published.

use std::path::Path;

use super::{GoldenCase, Tensors, case::transposed};
use crate::{
    DType, Result, Tensor,
    executor::{Executor, Program},
    media::to_u8,
    model::video_vae::{
        Chunks, TurboConfig, VaePrecision, WanConfig, statistics,
        turbo::{self, CallShape},
        wan_decoder, wan_encoder,
    },
    plan::{Buf, Plan},
    qualify::Check,
    weights::Architecture,
};

/// Largest relative L2 error with f32 activations.
const F32_LIMIT: f64 = 1e-5;
/// In the published precision the relative L2 error may exceed the reference's own in bf16 by this factor.
const BF16_FACTOR: f64 = 1.5;
/// The same for the largest difference.
const BF16_MAX_FACTOR: f64 = 2.0;

const BF16_WEIGHTS: VaePrecision = VaePrecision {
    weights: DType::Bf16,
    activations: DType::F32,
};

/// A precision, its name, and the tensor to compare with.
const PATHS: [(VaePrecision, &str, &str); 3] = [
    (VaePrecision::F32, "f32", "ref64"),
    (BF16_WEIGHTS, "bf16 weights", "ref64_wbf16"),
    (VaePrecision::BF16, "bf16", "ref64"),
];

/// The precisions that the executor supports.
fn paths(
    executor: &dyn Executor,
) -> impl Iterator<Item = (VaePrecision, &'static str, &'static str)> {
    let all = executor.runs_unrounded();
    PATHS
        .into_iter()
        .filter(move |(precision, ..)| all || precision.activations == DType::Bf16)
}

/// `turbo_vaed.decode`: `z` `[1, 48, T, h, w]` to `[1, 3, 4T - 3, 16h, 16w]`, in the configuration's calls.
pub(super) fn turbo_decode(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let (config, tensors) = (turbo_config(case)?, case.tensors()?);
    let z = video(case, tensors.get("z")?, statistics::LATENT_CHANNELS)?;
    let chunks = Chunks::new(&config, z.shape()[1]);
    let mut checks = Vec::new();
    for (precision, path, reference) in paths(executor) {
        let mut frames = Vec::new();
        for call in &chunks.calls {
            let shape = call_shape(&z, call.latents.len(), call.first);
            let (plan, ports) = turbo::decoder_call(&config, precision, shape);
            let u = statistics::denormalised(&z, chunks.latents_of(call));
            let mut program = case.program(executor, Architecture::VideoVae, &plan, false)?;
            let made = replayed(&mut *program, ports.input, &u, ports.output)?;
            frames.extend_from_slice(&call.kept(&made).to_f32());
        }
        let want = tensors.get(reference)?;
        checks.extend(compared(case, path, "", &transposed(&frames, 3), want)?);
    }
    checks.push(bytes(case, &tensors)?);
    Ok(checks)
}

/// `turbo_vaed.decoder_call`: one call on `z` as it is, once as the video's first and once as a later one.
pub(super) fn turbo_call(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let (config, tensors) = (turbo_config(case)?, case.tensors()?);
    let z = video(case, tensors.get("z")?, statistics::LATENT_CHANNELS)?;
    let mut checks = Vec::new();
    for (name, first) in [("first", true), ("later", false)] {
        for (precision, path, reference) in paths(executor) {
            let frames = z.shape()[1];
            let shape = call_shape(&z, frames, first);
            let (plan, ports) = turbo::decoder_call(&config, precision, shape);
            let mut program = case.program(executor, Architecture::VideoVae, &plan, true)?;
            let u = statistics::as_is(&z, 0..frames);
            let made = replayed(&mut *program, ports.input, &u, ports.output)?;
            let want = tensors.get(&format!("{reference}.{name}"))?;
            let got = transposed(&made.to_f32(), 3);
            checks.extend(compared(case, path, name, &got, want)?);
            if precision == VaePrecision::F32 {
                let prefix = format!("tap.{name}.");
                checks.extend(taps(&plan, &mut *program, &tensors, [&prefix, "decoder."])?);
            }
        }
    }
    Ok(checks)
}

/// `wan22.encode`: `video` `[1, 3, F, H, W]` to the normalised latent; frames beyond whole groups are ignored.
pub(super) fn wan_encode(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let (config, tensors) = (wan_config(case)?, case.tensors()?);
    let input = video(case, tensors.get("video")?, 3)?;
    let [given, height, width] = [1, 2, 3].map(|axis| input.shape()[axis]);
    let (ratio, group) = (config.spatial_ratio(), config.temporal_ratio());
    if !height.is_multiple_of(ratio) || !width.is_multiple_of(ratio) {
        return Err(case.bad(format!("{} is not in multiples of {ratio}", input.shape())));
    }
    let frames = given - (given - 1) % group;
    let area = height * width;
    let values = input.to_f32();
    let pixels: Vec<f32> = (0..frames * area)
        .flat_map(|i| [0, 1, 2].map(|colour| values[colour * given * area + i]))
        .collect();
    let pixels = Tensor::from_f32([frames, height, width, 3], &pixels);
    let mut checks = Vec::new();
    for (precision, path, reference) in paths(executor) {
        let (plan, ports) = wan_encoder::encode(&config, precision, frames, height, width);
        let mut program = case.program(executor, Architecture::VideoVae, &plan, true)?;
        let mu = replayed(&mut *program, ports.input, &pixels, ports.output)?;
        let got = statistics::normalised(&mu);
        checks.extend(compared(
            case,
            path,
            "",
            &got.to_f32(),
            tensors.get(reference)?,
        )?);
        if precision == VaePrecision::F32 {
            checks.extend(taps(&plan, &mut *program, &tensors, ["tap.", ""])?);
        }
    }
    Ok(checks)
}

/// `wan22.decode`: `z` `[1, 48, T, h, w]` to clamped frames.
pub(super) fn wan_decode(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let (config, tensors) = (wan_config(case)?, case.tensors()?);
    let z = video(case, tensors.get("z")?, statistics::LATENT_CHANNELS)?;
    let [frames, height, width] = [1, 2, 3].map(|axis| z.shape()[axis]);
    let mut checks = Vec::new();
    for (precision, path, reference) in paths(executor) {
        let (plan, ports) = wan_decoder::decode(&config, precision, frames, height, width);
        let mut program = case.program(executor, Architecture::VideoVae, &plan, true)?;
        let u = statistics::denormalised(&z, 0..frames);
        let made = replayed(&mut *program, ports.input, &u, ports.output)?;
        let got = transposed(&made.to_f32(), 3);
        checks.extend(compared(case, path, "", &got, tensors.get(reference)?)?);
        if precision == VaePrecision::F32 {
            checks.extend(taps(&plan, &mut *program, &tensors, ["tap.", ""])?);
        }
    }
    Ok(checks)
}

fn turbo_config(case: &GoldenCase<'_>) -> Result<TurboConfig> {
    let keys: serde_json::Value = case.field("config")?;
    TurboConfig::parse(keys.to_string().as_bytes(), Path::new(case.suite().name()))
}

fn wan_config(case: &GoldenCase<'_>) -> Result<WanConfig> {
    let config: WanConfig = case.field("config")?;
    config
        .problem()
        .map_or(Ok(config), |problem| Err(case.bad(problem)))
}

fn call_shape(z: &Tensor, frames: usize, first: bool) -> CallShape {
    CallShape {
        frames,
        height: z.shape()[2],
        width: z.shape()[3],
        first,
    }
}

/// `[1, channels, ..]` without its first axis.
fn video(case: &GoldenCase<'_>, x: &Tensor, channels: usize) -> Result<Tensor> {
    match x.shape().extents() {
        [1, c, rest @ ..] if *c == channels && rest.len() == 3 && !rest.contains(&0) => {
            Ok(x.reshape(&x.shape().extents()[1..]))
        }
        _ => Err(case.bad(format!(
            "must be [1, {channels}, T, H, W]; found {}",
            x.shape()
        ))),
    }
}

fn replayed(program: &mut dyn Program, input: Buf, x: &Tensor, output: Buf) -> Result<Tensor> {
    program.write(input, x)?;
    program.run()?;
    program.read(output)
}

/// Checks one output against `want` with the limits of its precision.
fn compared(
    case: &GoldenCase<'_>,
    path: &str,
    name: &str,
    got: &[f32],
    want: &Tensor,
) -> Result<Vec<Check>> {
    let what = format!("output {name} ({path})").replace("  ", " ");
    let want = want.to_f32();
    if path != "bf16" {
        return Ok(vec![Check::relative_l2(what, got, &want, F32_LIMIT)]);
    }
    let relative = BF16_FACTOR * case.number(&["errors", "up_vs_ref64_rel"])?;
    let largest = BF16_MAX_FACTOR * case.number(&["errors", "up_vs_ref64_max"])?;
    Ok(vec![
        Check::relative_l2(&what, got, &want, relative),
        Check::max_abs(format!("{what}, largest difference"), got, &want, largest),
    ])
}

/// Checks the conversion to bytes on the reference's own bf16 output, where it is exact.
fn bytes(case: &GoldenCase<'_>, tensors: &Tensors) -> Result<Check> {
    let up = video(case, tensors.get("up")?, 3)?;
    let [frames, height, width] = [1, 2, 3].map(|axis| up.shape()[axis]);
    let got: Vec<f32> = to_u8(&up.to_f32(), frames, height, width)
        .into_iter()
        .map(f32::from)
        .collect();
    tensors.max_abs("bytes of `up`", &got, "up_u8", 0.0)
}

/// Checks every tensor `THEIRS...` against the output of our module `OURS...`, the last buffer in its scope.
fn taps(
    plan: &Plan,
    program: &mut dyn Program,
    tensors: &Tensors,
    [theirs, ours]: [&str; 2],
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for label in tensors.labels() {
        let Some(module) = label.strip_prefix(theirs) else {
            continue;
        };
        let got = match output_of(plan, &format!("{ours}{module}")) {
            Some(buf) => {
                let value = program.read(buf)?;
                transposed(&value.to_f32(), value.shape().cols())
            }
            None => Vec::new(),
        };
        checks.push(tensors.relative_l2(label, &got, label, F32_LIMIT)?);
    }
    Ok(checks)
}

fn output_of(plan: &Plan, module: &str) -> Option<Buf> {
    let within = |buf: &Buf| {
        let rest = plan.spec(*buf).label.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    plan.steps()
        .iter()
        .rev()
        .map(|step| step.writes)
        .find(within)
}
