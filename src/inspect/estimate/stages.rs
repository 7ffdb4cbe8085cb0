//! The stages of a job as plans, each with its number of runs.

use crate::{
    Result,
    model::{
        audio_vae,
        dit::{self, History, Pass},
        text_encoder,
        video_vae::{self, Chunks, turbo::CallShape},
    },
    pipeline::{
        Stage,
        decode::in_bytes,
        formats::{QuantizationPolicy, quantized},
        networks::{Dit, ModelConfigs},
        request::{BaseVariant, Job, VideoDecoder},
    },
    plan::{Grid, Plan},
    weights::{Component, Variant},
};

/// Tokens of the published negative prompt, which the guided base pass takes besides the prompt.
pub const NEGATIVE_TOKENS: usize = 392;

/// The request, beyond the job's numbers.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Tokens of the prompt.
    pub text_tokens: usize,
    /// Network of the base pass.
    pub variant: BaseVariant,
    /// Steps of the base pass, if not the network's own.
    pub steps: Option<usize>,
    /// Network that makes the frames.
    pub decoder: VideoDecoder,
    /// Formats of the denoising networks' layers.
    pub policy: QuantizationPolicy,
}

/// Tokens of one forward pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tokens {
    /// Video tokens.
    pub video: usize,
    /// Audio tokens.
    pub audio: usize,
    /// Text tokens.
    pub text: usize,
}

impl Tokens {
    /// The total.
    pub fn all(self) -> usize {
        self.video + self.audio + self.text
    }
}

/// A plan and its number of runs.
pub struct PlannedCall {
    /// The plan.
    pub plan: Plan,
    /// Number of runs.
    pub runs: usize,
}

/// One stage.
pub struct Work {
    /// The stage.
    pub stage: Stage,
    /// The network that runs.
    pub part: Component,
    /// Tokens of each forward pass of a run; none for convolutions.
    pub tokens: Vec<Tokens>,
    /// Its plans.
    pub calls: Vec<PlannedCall>,
}

/// The stages of `job` that run on the device, in order.
///
/// # Errors
/// [`crate::Error::Request`] for formats that a network cannot have.
pub fn stages(networks: &ModelConfigs, job: &Job, scenario: &Scenario) -> Result<Vec<Work>> {
    let base = scenario.variant.network();
    let sr = job.sr.map(|(variant, grid)| (variant.network(), grid));
    let mut all = vec![
        text(networks, scenario),
        denoise(networks, Stage::Base, (base, job.base), job, scenario)?,
    ];
    if let Some(pass) = sr {
        let stage = Stage::SuperResolution;
        all.push(denoise(networks, stage, pass, job, scenario)?);
    }
    all.push(match scenario.decoder {
        VideoDecoder::Turbo => turbo(networks, job.grid()),
        VideoDecoder::Wan => wan(networks, job.grid()),
    });
    all.push(sound(networks, job.audio_tokens));
    Ok(all)
}

fn text(networks: &ModelConfigs, scenario: &Scenario) -> Work {
    let negative = (scenario.variant == BaseVariant::Base).then_some(NEGATIVE_TOKENS);
    let lengths = [Some(scenario.text_tokens), negative].into_iter().flatten();
    let tokens = |text| Tokens {
        video: 0,
        audio: 0,
        text,
    };
    let call = |length| PlannedCall {
        plan: text_encoder::encode(&networks.text, length, false).0,
        runs: 1,
    };
    Work {
        stage: Stage::Text,
        part: Component::TextEncoder,
        tokens: lengths.clone().map(tokens).collect(),
        calls: lengths.map(call).collect(),
    }
}

fn denoise(
    networks: &ModelConfigs,
    stage: Stage,
    (variant, grid): (Variant, Grid),
    job: &Job,
    scenario: &Scenario,
) -> Result<Work> {
    let Dit {
        config,
        properties,
        stored,
        ..
    } = networks.dit(variant);
    let formats = scenario.policy.resolve(variant, config, stored)?;
    let is_base = stage == Stage::Base;
    let steps = if is_base { scenario.steps } else { None };
    // The prompt and, with guidance, the negative prompt, as far as the network takes them.
    let is_guided = variant == Variant::Base;
    let prompt = scenario.text_tokens.min(text_encoder::MAX_FEATURES);
    let text: Vec<usize> = [prompt]
        .into_iter()
        .chain(is_guided.then_some(NEGATIVE_TOKENS))
        .collect();
    let tokens = |&text: &usize| Tokens {
        video: grid.tokens(),
        audio: job.audio_tokens,
        text,
    };
    let tokens = text.iter().map(tokens).collect();
    let pass = Pass {
        config: config.clone(),
        grid,
        audio: job.audio_tokens,
        text,
        window_radius: properties.frame_receptive_field,
        history: if variant == Variant::Distill {
            History::Noise
        } else {
            History::Multistep
        },
        updates_audio: is_base,
        has_image: false,
    };
    let call = PlannedCall {
        plan: quantized(dit::denoise(&pass).0, &formats),
        runs: steps.unwrap_or(properties.steps),
    };
    Ok(Work {
        stage,
        part: Component::Dit(variant),
        tokens,
        calls: vec![call],
    })
}

/// One plan for each size of call, which few share.
fn decoding(stage: Stage, part: Component, calls: Vec<PlannedCall>) -> Work {
    Work {
        stage,
        part,
        tokens: vec![],
        calls,
    }
}

fn turbo(networks: &ModelConfigs, grid: Grid) -> Work {
    let mut sizes: Vec<(CallShape, usize)> = Vec::new();
    for call in Chunks::new(&networks.turbo, grid.frames).calls {
        let frames = call.latents.len();
        let shape = CallShape {
            frames,
            height: grid.height,
            width: grid.width,
            first: call.first,
        };
        match sizes.iter_mut().find(|(other, _)| *other == shape) {
            Some((_, runs)) => *runs += 1,
            None => sizes.push((shape, 1)),
        }
    }
    let precision = video_vae::VaePrecision::BF16;
    let plan = |shape| {
        in_bytes(video_vae::turbo::decoder_call(
            &networks.turbo,
            precision,
            shape,
        ))
        .0
    };
    let calls = sizes.into_iter().map(|(shape, runs)| PlannedCall {
        plan: plan(shape),
        runs,
    });
    let calls = calls.collect();
    decoding(Stage::DecodeVideo, Component::TurboVae, calls)
}

fn wan(networks: &ModelConfigs, grid: Grid) -> Work {
    let precision = video_vae::VaePrecision::BF16;
    let Grid {
        frames,
        height,
        width,
    } = grid;
    let made = video_vae::wan_decoder::decode(&networks.wan, precision, frames, height, width);
    let (plan, _) = in_bytes(made);
    decoding(
        Stage::DecodeVideo,
        Component::WanVae,
        vec![PlannedCall { plan, runs: 1 }],
    )
}

fn sound(networks: &ModelConfigs, latents: usize) -> Work {
    let plan = audio_vae::decode(&networks.audio, latents).0;
    decoding(
        Stage::DecodeAudio,
        Component::AudioVae,
        vec![PlannedCall { plan, runs: 1 }],
    )
}
