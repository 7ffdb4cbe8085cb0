//! Cases of whole clips in latent space: base pass and super-resolution from given noise.
//!
//! Each case runs three times: in f32; with the reference's roundings; and with these roundings while every step
//! starts from the reference's latents, so that each step is judged alone.

use serde::Deserialize;

use super::{GoldenCase, Tensors, dit};
use crate::{
    Result, Tensor,
    executor::Executor,
    model::dit::Coordinates,
    pipeline::{
        Context,
        denoise::{Guidance, InitialLatents, Latents, Network, Sampling, StepEvent, denoise},
        upscale::{Upscaling, upscale},
    },
    qualify::Check,
    sampler::{Method, guidance::SrGuidance},
    tensor::LayerFormats,
};

/// The reference's settings, under its names.
#[derive(Deserialize)]
struct Evaluation {
    cfg_number: usize,
    sr_cfg_number: usize,
    sr_video_txt_guidance_scale: f32,
    video_txt_guidance_scale: f32,
    noise_value: usize,
    shift: f64,
    use_cfg_trick: bool,
    cfg_trick_start_frame: usize,
    cfg_trick_value: f32,
    using_sde_flag: bool,
}

#[derive(Deserialize)]
struct Arguments {
    sr_width: Option<usize>,
    sr_height: Option<usize>,
    br_num_inference_steps: usize,
    sr_num_inference_steps: usize,
}

/// How a case is run and judged.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    limit: &'static str,
    in_f32: bool,
    is_forced: bool,
}

const MODES: [Mode; 3] = [
    Mode {
        name: "f32",
        limit: "accept_f32_rel_l2",
        in_f32: true,
        is_forced: false,
    },
    Mode {
        name: "bf16",
        limit: "accept_bf16_rel_l2",
        in_f32: false,
        is_forced: false,
    },
    Mode {
        name: "bf16, from the reference's latents",
        limit: "",
        in_f32: false,
        is_forced: true,
    },
];

pub(super) fn run(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let evaluation: Evaluation = case.field("evaluation_config")?;
    let arguments: Arguments = case.field("args")?;
    let mut checks = Vec::new();
    let runs = |mode: &Mode| !mode.in_f32 || executor.runs_unrounded();
    for mode in MODES.into_iter().filter(runs) {
        let context = Context::new(executor);
        let context = if mode.in_f32 {
            context.in_f32()
        } else {
            context
        };
        let mut run = Run {
            case,
            tensors: &tensors,
            mode,
            checks: &mut checks,
        };
        let base = run.base(&context, &evaluation, &arguments)?;
        let last = match (arguments.sr_height, arguments.sr_width) {
            (Some(height), Some(width)) => {
                let target = (height / 32 * 2, width / 32 * 2);
                run.sr(
                    &context,
                    &evaluation,
                    &base,
                    target,
                    arguments.sr_num_inference_steps,
                )?
            }
            _ => base,
        };
        if !mode.is_forced {
            run.compare(
                "out.final.video",
                &["measured", "out.final.video"],
                &last.video,
            )?;
            run.compare(
                "out.final.audio",
                &["measured", "out.final.audio"],
                &last.audio,
            )?;
        }
    }
    Ok(checks)
}

struct Run<'a, 'b> {
    case: &'a GoldenCase<'b>,
    tensors: &'a Tensors,
    mode: Mode,
    checks: &'a mut Vec<Check>,
}

impl Run<'_, '_> {
    fn base(
        &mut self,
        context: &Context<'_>,
        evaluation: &Evaluation,
        arguments: &Arguments,
    ) -> Result<Latents> {
        let network = self.network(["config", "weights_seed"], Coordinates::V2, evaluation)?;
        let start = InitialLatents {
            video: self.batched("in.noise.init_video")?,
            audio: self.batched("in.noise.init_audio")?,
            text: self.text(evaluation.cfg_number)?,
            image: self.image("in.image_br")?,
        };
        let method = match (evaluation.cfg_number, evaluation.using_sde_flag) {
            (1, _) => Method::Consistency,
            (_, true) => Method::Sde,
            (_, false) => Method::UniPc,
        };
        let guided = evaluation.cfg_number > 1;
        let sampling = Sampling {
            method,
            steps: arguments.br_num_inference_steps,
            guidance: guided.then_some(Guidance::Base(evaluation.video_txt_guidance_scale)),
            updates_audio: true,
        };
        let tensors = self.tensors;
        let draw = |name: &str, _: &[usize]| unbatched(tensors, &format!("in.noise.{name}"));
        let image = start.image.clone();
        denoise(context, &network, &start, &sampling, &draw, &mut |event| {
            self.on_step("base", event, image.as_ref())
        })
    }

    fn sr(
        &mut self,
        context: &Context<'_>,
        evaluation: &Evaluation,
        base: &Latents,
        target: (usize, usize),
        steps: usize,
    ) -> Result<Latents> {
        let network = self.network(
            ["sr_config", "sr_weights_seed"],
            Coordinates::V1,
            evaluation,
        )?;
        let guidance = SrGuidance {
            scale: evaluation.sr_video_txt_guidance_scale,
            first_frames: if evaluation.use_cfg_trick {
                evaluation.cfg_trick_start_frame
            } else {
                0
            },
            first_scale: evaluation.cfg_trick_value,
        };
        let guided = evaluation.sr_cfg_number > 1;
        let upscaling = Upscaling {
            target,
            steps,
            guidance: guided.then_some(Guidance::Sr(guidance)),
            noise_value: evaluation.noise_value,
        };
        let text = self.text(evaluation.sr_cfg_number)?;
        let image = self.image("in.image_sr")?;
        let tensors = self.tensors;
        let draw = |name: &str, _: &[usize]| unbatched(tensors, &format!("in.noise.{name}"));
        let shown = image.clone();
        upscale(
            context,
            &network,
            (base, text, image),
            &upscaling,
            &draw,
            &mut |event| self.on_step("sr", event, shown.as_ref()),
        )
    }

    fn network(
        &self,
        [config, seed]: [&str; 2],
        coordinates: Coordinates,
        evaluation: &Evaluation,
    ) -> Result<Network> {
        let (config, weights) = dit::network(self.case, config, seed)?;
        let window_radius = self.case.field("frame_receptive_field")?;
        Ok(Network {
            config,
            weights,
            coordinates,
            window_radius,
            shift: evaluation.shift,
            formats: LayerFormats::new(),
        })
    }

    fn text(&self, conditions: usize) -> Result<Vec<Tensor>> {
        ["in.context", "in.context_null"]
            .iter()
            .take(conditions)
            .map(|label| self.batched(label))
            .collect()
    }

    fn image(&self, label: &str) -> Result<Option<Tensor>> {
        self.tensors
            .has(label)
            .then(|| self.batched(label))
            .transpose()
    }

    fn batched(&self, label: &str) -> Result<Tensor> {
        unbatched(self.tensors, label)
    }

    /// Compares the latents before a step, its velocities, and the latents after it.
    fn on_step(
        &mut self,
        pass: &str,
        mut event: StepEvent<'_>,
        image: Option<&Tensor>,
    ) -> Result<()> {
        let label = format!("step.{pass}{}", event.step);
        if event.after {
            return self.after(&label, &mut event, image);
        }
        for (name, buf) in [
            ("x_in", event.ports.video.latent),
            ("a_in", event.ports.audio_latent),
        ] {
            let label = format!("{label}.{name}");
            let want = self.batched(&format!("{label}.ref64"))?;
            if self.mode.is_forced {
                event.program.write(buf, &want)?;
            } else if self.mode.in_f32 {
                // The index has no limit for inputs; that of the final latents applies to all f32 values.
                let allowed =
                    self.case
                        .number(&["measured", "out.final.video", self.mode.limit])?;
                let got = event.program.read(buf)?;
                let (got, want) = (got.to_f32(), want.to_f32());
                self.checks
                    .push(Check::relative_l2(label, &got, &want, allowed));
            }
        }
        Ok(())
    }

    fn after(
        &mut self,
        label: &str,
        event: &mut StepEvent<'_>,
        image: Option<&Tensor>,
    ) -> Result<()> {
        let updates = [
            ("video", Some(&event.ports.video)),
            ("audio", event.ports.audio.as_ref()),
        ];
        for (name, update) in updates {
            let Some(update) = update else { continue };
            let velocity = event.program.read(update.velocity)?;
            if self.mode.is_forced {
                let key = format!("accept_bf16_v_{name}_rel_l2");
                let allowed = self
                    .case
                    .number(&["measured", label, "teacher_forced", &key])?;
                let what = format!("{label}.v_{name} ({})", self.mode.name);
                let (got, want) = (velocity.to_f32(), format!("{label}.v_{name}.ref64"));
                let check = self.tensors.relative_l2(what, &got, &want, allowed)?;
                self.checks.push(check);
                continue;
            }
            // The index has no limit for the audio velocity in a free run; in f32 the video's applies.
            if name == "video" || self.mode.in_f32 {
                self.compare(
                    &format!("{label}.v_{name}"),
                    &["measured", label, "v_video"],
                    &velocity,
                )?;
            }
            let (x, latent) = (format!("x_{name}"), event.program.read(update.latent)?);
            // The golden is the latent before the image's frame is restored.
            if name == "audio" || image.is_none() {
                self.compare(&format!("{label}.{x}"), &["measured", label, &x], &latent)?;
            }
        }
        Ok(())
    }

    fn compare(&mut self, label: &str, measured: &[&str], got: &Tensor) -> Result<()> {
        let path: Vec<&str> = measured.iter().copied().chain([self.mode.limit]).collect();
        let (allowed, want) = (self.case.number(&path)?, format!("{label}.ref64"));
        let what = format!("{label} ({})", self.mode.name);
        let got = got.to_f32();
        let check = self.tensors.relative_l2(what, &got, &want, allowed)?;
        self.checks.push(check);
        Ok(())
    }
}

/// A tensor without its batch axis.
fn unbatched(tensors: &Tensors, label: &str) -> Result<Tensor> {
    let tensor = tensors.get(label)?;
    Ok(tensor.reshape(&tensor.shape().extents()[1..]))
}
