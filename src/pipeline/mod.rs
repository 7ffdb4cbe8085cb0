//! The stages in order: text, denoise, upscale, decode, mux.
//!
//! Invariant: holds an executor and never asks which; each stage is a function from tensors to tensors.

pub mod conditions;
pub mod decode;
pub mod denoise;
mod feature_cache;
pub mod formats;
mod generate;
pub mod image;
pub mod latents_file;
pub mod miniature;
pub mod model;
pub mod networks;
pub mod notice;
mod output;
pub mod preflight;
pub mod profile;
pub mod request;
mod session;
pub mod sound;
pub mod text;
pub mod upscale;
mod weight_cache;

pub use crate::media::{AtomicFile, Color, EncodeOptions, Encoder, SAMPLE_RATE, Unnamed, publish};
pub use formats::QuantizationPolicy;
pub use generate::{generate, hash, latents};
pub use model::Model;
pub use notice::Notice;
pub use output::{Content, Draft, Output, Report};
pub use session::{Keep, Session};
pub use weight_cache::WeightCache;

use std::sync::Arc;

use crate::{
    Result,
    executor::{Cancel, Executor, Prepare, Program},
    plan::Plan,
    weights::Weights,
};

/// Where activations are rounded. Which layers are quantised is [`QuantizationPolicy`]'s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Precision {
    /// Where the reference rounds.
    #[default]
    Reference,
    /// Nowhere: f32 activations. The yardstick for everything else.
    F32,
}

/// What every stage runs with.
#[derive(Clone)]
pub struct Context<'a> {
    /// The device.
    pub executor: &'a dyn Executor,
    /// Stops the work when asked.
    pub cancel: Cancel,
    /// Where activations are rounded.
    pub precision: Precision,
    /// What is loaded.
    loaded: Arc<WeightCache>,
    /// Text features that are known.
    features: Arc<feature_cache::FeatureCache>,
}

impl<'a> Context<'a> {
    /// As the reference rounds, never interrupted.
    pub fn new(executor: &'a dyn Executor) -> Self {
        Self {
            executor,
            cancel: Cancel::default(),
            precision: Precision::default(),
            loaded: Arc::default(),
            features: Arc::default(),
        }
    }

    /// The same with f32 activations.
    #[must_use]
    pub fn in_f32(mut self) -> Self {
        self.precision = Precision::F32;
        self
    }

    /// `plan` in this precision, made ready with weights that all plans share until [`Context::release`].
    ///
    /// # Errors
    /// As [`Executor::prepare`].
    pub fn prepare(&self, plan: Plan, weights: &Weights) -> Result<Box<dyn Program>> {
        let (plan, how) = (self.precise(plan), self.how());
        self.loaded.prepare(self.executor, &plan, weights, &how)
    }

    /// Whether `plan` in this precision will fit into memory.
    ///
    /// # Errors
    /// The executor's.
    pub fn check(&self, plan: Plan) -> Result<()> {
        let plan = self.precise(plan);
        self.loaded.check(self.executor, &plan, &self.how())
    }

    /// Lets go of weights that are not to be kept.
    pub fn release(&self) {
        self.loaded.release();
    }

    /// What every plan is prepared with.
    pub fn how(&self) -> Prepare {
        Prepare {
            cancel: self.cancel.clone(),
            ..Prepare::default()
        }
    }

    /// `plan` in this precision.
    pub fn precise(&self, plan: Plan) -> Plan {
        match self.precision {
            Precision::Reference => plan,
            Precision::F32 => plan.in_f32(),
        }
    }
}

/// A stretch of work with a name, a time and a progress bar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Prompt to features.
    Text,
    /// Picture to latent.
    Image,
    /// Voice track to latent.
    Voice,
    /// Base pass.
    Base,
    /// Latents of the base pass to a clip, before they are refined.
    Preview,
    /// Super-resolution pass.
    SuperResolution,
    /// Latents to frames.
    DecodeVideo,
    /// Latents to sound.
    DecodeAudio,
    /// Encoding and the MP4.
    Mux,
}

impl Stage {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Voice => "voice",
            Self::Base => "base",
            Self::Preview => "preview",
            Self::SuperResolution => "super-resolution",
            Self::DecodeVideo => "decode video",
            Self::DecodeAudio => "decode audio",
            Self::Mux => "mux",
        }
    }
}

/// Told how far the work is; must not block for long.
pub trait Progress: Sync {
    /// `done` of `total` units of `stage` are done; called with 0 when it begins.
    fn report(&self, stage: Stage, done: usize, total: usize);

    /// Something the user should know: a number that differs from what was asked, a word of advice.
    fn notice(&self, notice: &Notice);

    /// `request` was resolved to `job`, and the work begins.
    fn begin(&self, _request: &request::Request, _job: &request::Job) {}

    /// The clip of the base pass can be read, if the output has one.
    fn preview(&self) {}
}
