//! What a job will take, from plans alone: tokens, arithmetic, bytes, memory and, for a GPU, time.
//!
//! Loads no weights and runs nothing. Memory is what the GPU's executor would allocate; times are estimates, and
//! [`assumptions`] says what they rest on. Read [`estimate`] first.

mod gpu;
mod stages;

pub use gpu::{Gpu, WeightFormat, assumptions};
pub use stages::{Call, NEGATIVE_TOKENS, Scenario, Tokens, Work, stages};

use super::Stage;
use crate::{Result, executor::Needs, plan::Plan, weights::Component};

/// Kept free on the GPU for the driver's context and what others use, bytes.
const RESERVED_BYTES: u64 = 1 << 30;

/// Where the weights are while a stage runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residency {
    /// All networks stay in the GPU's memory.
    Resident,
    /// One network at a time is in the GPU's memory, loaded before its stage.
    Staged,
    /// Layers are copied from the host's memory while the one before is computed, two at a time on the GPU.
    Streamed,
}

impl Residency {
    /// From the fastest to the smallest.
    pub const ALL: [Self; 3] = [Self::Resident, Self::Staged, Self::Streamed];

    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Staged => "staged",
            Self::Streamed => "streamed",
        }
    }
}

/// What a stage takes.
#[derive(Clone, Debug)]
pub struct StageEstimate {
    /// Which.
    pub stage: Stage,
    /// The network that runs.
    pub part: Component,
    /// Rows of each forward pass of a run.
    pub tokens: Vec<Tokens>,
    /// Runs of its plans: sampler steps, calls of a decoder.
    pub runs: usize,
    /// Floating-point operations of all runs.
    pub flops: f64,
    /// Bytes of activations and weights that all runs move, nothing fused.
    pub bytes: f64,
    /// Buffers of the largest plan.
    pub arena_bytes: u64,
    /// Its weights.
    pub weight_bytes: u64,
    /// Its weights on the GPU when layers are streamed: those outside of layers, and the two largest layers.
    pub streamed_weight_bytes: u64,
    /// Seconds with the weights in the GPU's memory.
    pub resident_seconds: f64,
    /// Seconds when layers are streamed.
    pub streamed_seconds: f64,
}

/// What a job takes.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// The GPU.
    pub gpu: Gpu,
    /// How matrices are stored.
    pub weights: WeightFormat,
    /// The stages in order.
    pub stages: Vec<StageEstimate>,
    /// The fastest way that fits; none if nothing does.
    pub residency: Option<Residency>,
}

/// What `work` takes on `gpu`, whose executor says by `needs` what it would allocate for a plan.
///
/// # Errors
/// Those of `needs`: an op that the executor cannot run.
pub fn estimate(
    work: &[Work],
    weights: WeightFormat,
    gpu: &Gpu,
    needs: &dyn Fn(&Plan) -> Result<Needs>,
) -> Result<Estimate> {
    let stages = work.iter().map(|work| stage(work, weights, gpu, needs));
    let stages = stages.collect::<Result<_>>()?;
    let mut estimate = Estimate {
        gpu: gpu.clone(),
        weights,
        stages,
        residency: None,
    };
    let usable = gpu.memory_bytes.saturating_sub(RESERVED_BYTES);
    let fits = |how: &Residency| estimate.peak_bytes(*how) <= usable;
    estimate.residency = Residency::ALL.into_iter().find(fits);
    Ok(estimate)
}

impl Estimate {
    /// Most of the GPU's memory that is used at a time.
    pub fn peak_bytes(&self, how: Residency) -> u64 {
        let most =
            |bytes: fn(&StageEstimate) -> u64| self.stages.iter().map(bytes).max().unwrap_or(0);
        match how {
            Residency::Resident => {
                let weights: u64 = self.stages.iter().map(|stage| stage.weight_bytes).sum();
                weights + most(|stage| stage.arena_bytes)
            }
            Residency::Staged => most(|stage| stage.weight_bytes + stage.arena_bytes),
            Residency::Streamed => most(|stage| stage.streamed_weight_bytes + stage.arena_bytes),
        }
    }

    /// Seconds of a stage.
    pub fn seconds(&self, stage: &StageEstimate, how: Residency) -> f64 {
        match how {
            Residency::Resident => stage.resident_seconds,
            Residency::Staged => stage.resident_seconds + stage.weight_bytes as f64 / self.gpu.link,
            Residency::Streamed => stage.streamed_seconds,
        }
    }

    /// Seconds of all stages.
    pub fn total_seconds(&self, how: Residency) -> f64 {
        self.stages
            .iter()
            .map(|stage| self.seconds(stage, how))
            .sum()
    }
}

fn stage(
    work: &Work,
    weights: WeightFormat,
    gpu: &Gpu,
    needs: &dyn Fn(&Plan) -> Result<Needs>,
) -> Result<StageEstimate> {
    // What stays as published is not stored in eight bits.
    let format = match work.part {
        Component::Dit(_) => weights,
        _ => WeightFormat::Bf16,
    };
    let mut all = StageEstimate {
        stage: work.stage,
        part: work.part,
        tokens: work.tokens.clone(),
        runs: 0,
        flops: 0.0,
        bytes: 0.0,
        arena_bytes: 0,
        weight_bytes: 0,
        streamed_weight_bytes: 0,
        resident_seconds: 0.0,
        streamed_seconds: 0.0,
    };
    for Call { plan, runs } in &work.calls {
        let times = *runs as f64;
        let cost = plan.total_cost();
        let (needs, saved) = (needs(plan)?, saved(plan, format));
        let seconds = gpu::seconds(plan, format, gpu);
        let copied = (needs.copied - saved.copied) as f64 / gpu.link;
        all.runs += runs;
        all.flops += times * cost.flops;
        all.bytes += times * cost.bytes();
        all.arena_bytes = all.arena_bytes.max(needs.with(0));
        all.weight_bytes = all.weight_bytes.max(needs.weights - saved.weights);
        all.streamed_weight_bytes = all
            .streamed_weight_bytes
            .max(needs.streamed_weights - saved.streamed_weights);
        all.resident_seconds += times * seconds;
        all.streamed_seconds += times * seconds.max(copied);
    }
    Ok(all)
}

/// How many bytes of weights `format` takes less than the plan says.
fn saved(plan: &Plan, format: WeightFormat) -> Needs {
    let saved = |within: &dyn Fn(&str) -> bool| -> u64 {
        let weights = plan.weights().map(|buf| plan.spec(buf));
        weights
            .filter(|spec| within(&spec.label))
            .map(|spec| spec_bytes(spec, WeightFormat::Bf16) - spec_bytes(spec, format))
            .sum()
    };
    let layers = plan.segments().iter().map(|segment| {
        saved(&|name| {
            let rest = name.strip_prefix(segment.label.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        })
    });
    let layers: Vec<u64> = layers.collect();
    let (all, copied): (u64, u64) = (saved(&|_| true), layers.iter().sum());
    // Two slots of the largest layer, which saves most.
    let slots = copied.min(2 * layers.iter().copied().max().unwrap_or(0));
    Needs {
        weights: all,
        streamed_weights: all - copied + slots,
        copied,
        ..Needs::default()
    }
}

fn spec_bytes(spec: &crate::plan::Spec, format: WeightFormat) -> u64 {
    format.bytes(spec.shape.rows(), spec.shape.count(), spec.dtype)
}
