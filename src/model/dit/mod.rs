//! The joint audio-video DiT: video, audio and text tokens in one sequence, through 40 layers, to velocities.
//!
//! [`forward`] is the network alone. [`denoise()`] is one sampler step around it; with a negative prompt the network
//! runs twice over the same weights. The network is not told the step: whatever depends on it comes in through the
//! coefficient inputs.
//!
//! The reference is daVinci-MagiHuman: `inference/model/dit/dit_module.py` for the network,
//! `inference/pipeline/data_proxy.py` for tokens and coordinates, `inference/pipeline/scheduler_unipc.py` for the steps.

mod config;
mod denoise;
mod layer;
mod sequence;

pub use config::{Coordinates, DitConfig, EPS, HEAD};
pub use denoise::{DenoisePorts, History, Pass, Update, denoise};
pub use sequence::Sequence;

pub use crate::tensor::ROPE_BANDS as BANDS;

use crate::{
    DType::F32,
    plan::{Buf, Builder, Dense, Grid, Norm, Plan},
};
use layer::{Tokens, layer};

/// Channels of a video latent.
pub const LATENT_CHANNELS: usize = 48;

/// The checkpoint's table of frequencies, `[16]` f32, from which the host makes the rotation's table.
pub const BANDS_NAME: &str = "adapter.rope.bands";

/// One text condition of a pass and what depends on its length.
pub(super) struct Condition {
    pub(super) sequence: Sequence,
    pub(super) text: Buf,
    pub(super) rope: Buf,
}

/// Buffers of [`forward`].
#[derive(Clone, Copy, Debug)]
pub struct ForwardPorts {
    /// Input: video latent `[48, T H W]`.
    pub video: Buf,
    /// Input: audio latent `[A, 64]`.
    pub audio: Buf,
    /// Input: text features `[Lt, Ct]`.
    pub text: Buf,
    /// Input: [`Sequence::rope_table`], `[N, 96]`.
    pub rope: Buf,
    /// Output: velocity of the video latent.
    pub video_velocity: Buf,
    /// Output: velocity of the audio latent.
    pub audio_velocity: Buf,
}

/// The network once: latents and text features to velocities. `window_radius` is that of local layers, in latent frames.
///
/// # Panics
/// If `config` is not valid.
pub fn forward(
    config: &DitConfig,
    sequence: Sequence,
    window_radius: usize,
) -> (Plan, ForwardPorts) {
    let mut p = Builder::new();
    let video_shape = [LATENT_CHANNELS, sequence.grid.positions()];
    let video = p.input("in.video", video_shape, F32);
    let audio = p.input("in.audio", [sequence.audio, config.audio_in_channels], F32);
    let condition = condition(&mut p, config, sequence);
    let (text, rope) = (condition.text, condition.rope);
    let velocities = network(&mut p, config, [video, audio], &[condition], window_radius);
    let video_velocity = p.unpatchify("velocity.video", velocities[0].0, sequence.grid);
    let audio_velocity = velocities[0].1;
    p.output(video_velocity);
    p.output(audio_velocity);
    (
        p.finish(),
        ForwardPorts {
            video,
            audio,
            text,
            rope,
            video_velocity,
            audio_velocity,
        },
    )
}

/// The inputs of one text condition.
fn condition(p: &mut Builder, config: &DitConfig, sequence: Sequence) -> Condition {
    let text = p.input("in.text", [sequence.text, config.text_in_channels], F32);
    let rope = p.input("in.rope", [sequence.len(), 96], F32);
    Condition {
        sequence,
        text,
        rope,
    }
}

/// Velocities of video (as tokens) and audio for each condition; layer by layer, so that a layer's weights are
/// read once for all conditions.
fn network(
    p: &mut Builder,
    config: &DitConfig,
    [video, audio]: [Buf; 2],
    conditions: &[Condition],
    window_radius: usize,
) -> Vec<(Buf, Buf)> {
    config
        .validate()
        .unwrap_or_else(|problem| panic!("{problem}"));
    let patches = p.patchify("patches", video, conditions[0].sequence.grid);
    let inputs = [patches, audio];
    let embedded = conditions.iter().enumerate();
    let embedded = embedded.map(|(i, c)| branch(p, i, |p| embed(p, config, c, inputs)));
    let mut streams: Vec<Buf> = embedded.collect();
    let windows: Vec<_> = conditions
        .iter()
        .map(|c| (c.sequence.full(), c.sequence.local(window_radius)))
        .collect();
    for index in 0..config.num_layers {
        p.segment(format_args!("block.layers.{index}"), |p| {
            for (i, (condition, (full, local))) in conditions.iter().zip(&windows).enumerate() {
                let tokens = Tokens {
                    ends: condition.sequence.ends(),
                    rope: condition.rope,
                    full,
                    local,
                };
                streams[i] = branch(p, i, |p| layer(p, config, index, streams[i], &tokens));
            }
        });
    }
    let pairs = streams.iter().zip(conditions).enumerate();
    pairs
        .map(|(i, (&x, condition))| branch(p, i, |p| head(p, config, x, condition.sequence)))
        .collect()
}

/// The first condition keeps the checkpoint's labels; the second is marked.
fn branch<T>(p: &mut Builder, index: usize, body: impl FnOnce(&mut Builder) -> T) -> T {
    if index == 0 {
        body(p)
    } else {
        p.branch("negative", body)
    }
}

fn embed(
    p: &mut Builder,
    config: &DitConfig,
    condition: &Condition,
    [patches, audio]: [Buf; 2],
) -> Buf {
    let sequence = condition.sequence;
    let hidden = p.assemble("hidden", [sequence.len(), config.hidden_size], F32);
    let dense = Dense {
        bias: true,
        ..Dense::new(config.hidden_size, F32)
    };
    let modalities = [
        ("adapter.video_embedder", patches, sequence.video_rows()),
        ("adapter.audio_embedder", audio, sequence.audio_rows()),
        (
            "adapter.text_embedder",
            condition.text,
            sequence.text_rows(),
        ),
    ];
    for (name, x, rows) in modalities {
        let count = rows.len();
        let destination = p.rows(hidden, rows);
        p.at(destination).linear(name, x, &[count], dense);
    }
    hidden
}

fn head(p: &mut Builder, config: &DitConfig, x: Buf, sequence: Sequence) -> (Buf, Buf) {
    let norm = Norm::new(config.hidden_size, EPS, Some(F32), F32);
    let dense = |rows| Dense::new(rows, F32);
    let video = p.rows(x, sequence.video_rows());
    let (ends, linear) = ([sequence.grid.tokens()], dense(config.video_in_channels));
    let video = p.rms_norm("final_norm_video", video, &ends, norm);
    let video = p.linear("final_linear_video", video, &ends, linear);
    let audio = p.rows(x, sequence.audio_rows());
    let (ends, linear) = ([sequence.audio], dense(config.audio_in_channels));
    let audio = p.rms_norm("final_norm_audio", audio, &ends, norm);
    let audio = p.linear("final_linear_audio", audio, &ends, linear);
    (video, audio)
}

/// A latent's extents `[48, T, H, W]`.
pub fn latent_shape(grid: Grid) -> [usize; 4] {
    [LATENT_CHANNELS, grid.frames, grid.height, grid.width]
}
