//! One sampler step as a plan: the network, guidance, and the update of the latents, which stay on the device.
//!
//! Every sampler here is linear in the latent, the velocity, the history and the noise; its factors depend only on the
//! step ([`StepCoefficients`](crate::sampler::StepCoefficients)). Reference: `pipeline/video_generate.py`,
//! `schedule_latent_step`.
//!
//! ```text
//! m  = [x, v]            . coefficients.m      estimate of the clean latent
//! c' = [x, c, m, m1, m2] . coefficients.c      corrected latent, only with history
//! x' = [c', m, m1, v, e] . coefficients.x      next latent; without history [m, v, e]
//! ```

use super::{Condition, DitConfig, LATENT_CHANNELS, Sequence, condition, network};
use crate::{
    DType::F32,
    plan::{Buf, Builder, Grid, Op, Plan},
};

/// What the update of a latent keeps from step to step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum History {
    /// Nothing; the step may add noise.
    Noise,
    /// The corrected latent and two estimates of the clean one; no noise: UniPC.
    Multistep,
}

/// One pass of a network over a clip.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The network.
    pub config: DitConfig,
    /// Latent frames, rows, columns.
    pub grid: Grid,
    /// Audio tokens.
    pub audio: usize,
    /// Text tokens of the prompt and, with guidance, of the negative prompt.
    pub text: Vec<usize>,
    /// Window radius of local layers, latent frames.
    pub window_radius: usize,
    /// What the update keeps.
    pub history: History,
    /// Whether the audio latent is sampled too; otherwise it is a fixed condition.
    pub updates_audio: bool,
    /// Whether the first latent frame is given by an image.
    pub has_image: bool,
}

impl Pass {
    /// The tokens of condition `index`.
    pub fn sequence(&self, index: usize) -> Sequence {
        Sequence {
            grid: self.grid,
            audio: self.audio,
            text: self.text[index],
        }
    }

    /// Whether there is a second, negative condition.
    pub fn is_guided(&self) -> bool {
        self.text.len() > 1
    }
}

/// Buffers of one latent's update.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// State: the latent, video `[48, T * H * W]` or audio `[A, 64]`, f32.
    pub latent: Buf,
    /// Output, shape of the latent: its velocity in this step, after guidance.
    pub velocity: Buf,
    /// Input, shape of the latent: this step's noise. None for [`History::Multistep`].
    pub noise: Option<Buf>,
    /// Input, only with guidance: factors of the two conditions' velocities, `[2, T]` for video, `[2, 1]` for audio.
    pub guidance: Option<Buf>,
}

/// Buffers of [`denoise`].
#[derive(Clone, Debug)]
pub struct DenoisePorts {
    /// Inputs: text features `[text tokens, Ct]` of each condition.
    pub text: Vec<Buf>,
    /// Inputs: [`Sequence::rope_table`] `[N, 96]` of each condition.
    pub rope: Vec<Buf>,
    /// Input: latent of the image, `[48, H * W]`.
    pub image: Option<Buf>,
    /// The video latent's update.
    pub video: Update,
    /// The audio latent `[A, 64]`, whether it is updated or not.
    pub audio_latent: Buf,
    /// The audio latent's update.
    pub audio: Option<Update>,
    /// Inputs: columns of factors.
    pub coefficients: Coefficients,
}

/// Columns of factors, f32, the same for both latents.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients {
    /// `[2, 1]`: of the clean estimate.
    pub m: Buf,
    /// `[5, 1]`: of the corrected latent, only for [`History::Multistep`].
    pub c: Option<Buf>,
    /// `[5, 1]`, or `[3, 1]` for [`History::Noise`]: of the next latent.
    pub x: Buf,
}

/// The plan of one step of `pass`. The host writes the image's frame into the video latent before the first step; each
/// step restores it after its update.
///
/// # Panics
/// If the pass has neither one nor two conditions or its configuration is not valid.
pub fn denoise(pass: &Pass) -> (Plan, DenoisePorts) {
    assert!(
        (1..=2).contains(&pass.text.len()),
        "one or two conditions, not {}",
        pass.text.len()
    );
    let mut p = Builder::new();
    let config = &pass.config;
    let video_shape = [LATENT_CHANNELS, pass.grid.positions()];
    let video = p.state("latent.video", video_shape, F32);
    let audio_shape = [pass.audio, config.audio_in_channels];
    let audio = p.state("latent.audio", audio_shape, F32);
    let conditions: Vec<Condition> = (0..pass.text.len())
        .map(|i| condition(&mut p, config, pass.sequence(i)))
        .collect();
    let (latents, radius) = ([video, audio], pass.window_radius);
    let velocities = network(&mut p, config, latents, &conditions, radius);
    let coefficients = coefficients(&mut p, pass.history);

    let tokens: Vec<Buf> = velocities.iter().map(|v| v.0).collect();
    let (tokens, video_guidance) = guide(&mut p, "video", &tokens, pass.grid.frames);
    let velocity = p.unpatchify("velocity.video", tokens, pass.grid);
    let noise = update(&mut p, "video", [video, velocity], &coefficients);
    let image = pass.has_image.then(|| {
        let frame = pass.grid.height * pass.grid.width;
        let image = p.input("in.image", [LATENT_CHANNELS, frame], F32);
        let first = p.cols(video, 0..frame);
        p.at(first).map("image", Op::Copy, image, F32);
        image
    });
    let video_update = Update {
        latent: video,
        velocity,
        noise,
        guidance: video_guidance,
    };
    p.output(velocity);
    let audio_update = pass.updates_audio.then(|| {
        let velocities: Vec<Buf> = velocities.iter().map(|v| v.1).collect();
        let (velocity, guidance) = guide(&mut p, "audio", &velocities, 1);
        let noise = update(&mut p, "audio", [audio, velocity], &coefficients);
        p.output(velocity);
        Update {
            latent: audio,
            velocity,
            noise,
            guidance,
        }
    });
    let ports = DenoisePorts {
        text: conditions.iter().map(|c| c.text).collect(),
        rope: conditions.iter().map(|c| c.rope).collect(),
        image,
        video: video_update,
        audio_latent: audio,
        audio: audio_update,
        coefficients,
    };
    (p.finish(), ports)
}

fn coefficients(p: &mut Builder, history: History) -> Coefficients {
    let m = p.input("coefficients.m", [2, 1], F32);
    let is_multistep = history == History::Multistep;
    let c = is_multistep.then(|| p.input("coefficients.c", [5, 1], F32));
    let terms = if is_multistep { 5 } else { 3 };
    let x = p.input("coefficients.x", [terms, 1], F32);
    Coefficients { m, c, x }
}

/// `negative + g (positive - negative)` as a sum with the factors `g` and `1 - g`, an input `[conditions, groups]`.
fn guide(p: &mut Builder, name: &str, velocities: &[Buf], groups: usize) -> (Buf, Option<Buf>) {
    match velocities {
        [one] => (*one, None),
        both => {
            let guidance = p.input(&format!("guidance.{name}"), [both.len(), groups], F32);
            (
                p.combine(&format!("guided.{name}"), guidance, both),
                Some(guidance),
            )
        }
    }
}

/// Replaces the latent by the next one. Returns the noise input, if there is one.
fn update(
    p: &mut Builder,
    name: &str,
    [x, v]: [Buf; 2],
    coefficients: &Coefficients,
) -> Option<Buf> {
    let shape = p.shape(x).clone();
    let m = p.combine(&format!("estimate.{name}"), coefficients.m, &[x, v]);
    let Some(c_factors) = coefficients.c else {
        let noise = p.input(&format!("noise.{name}"), shape, F32);
        p.at(x).combine("", coefficients.x, &[m, v, noise]);
        return Some(noise);
    };
    let mut state = |kind: &str| p.state(&format!("history.{kind}.{name}"), shape.clone(), F32);
    let (c, m1, m2) = (state("corrected"), state("estimate1"), state("estimate2"));
    let corrected = p.combine(&format!("corrected.{name}"), c_factors, &[x, c, m, m1, m2]);
    // Without noise the sampler's factor in this slot is zero, so any buffer of the shape will do.
    p.at(x)
        .combine("", coefficients.x, &[corrected, m, m1, v, x]);
    for (to, from) in [(m2, m1), (m1, m), (c, corrected)] {
        p.at(to).map("", Op::Copy, from, F32);
    }
    None
}
