//! What a job takes, from plans alone: tokens, arithmetic, bytes, memory and time on a GPU or on this CPU.
//!
//! Loads no weights and runs none of the plans. Memory is what the executor would allocate; times are estimates under
//! [`Estimate::assumptions`]. Read [`estimate`] first.

mod cpu;
mod gpu;
mod stages;

pub use cpu::CpuSpec;
pub use gpu::GpuSpec;
pub use stages::{NEGATIVE_TOKENS, PlannedCall, Scenario, Tokens, Work, stages};

use crate::{
    DType, Error, Result, error::quoted, executor::Needs, pipeline::Stage, plan::Plan,
    weights::Component,
};

/// Bytes kept free on the GPU for the driver's context and other programs.
const RESERVED_BYTES: u64 = 1 << 30;

/// What a job is planned for.
#[derive(Clone, Debug)]
pub enum Machine {
    /// A GPU.
    Gpu(GpuSpec),
    /// This machine's CPU.
    Cpu(CpuSpec),
}

impl Machine {
    /// Where weights can be, from the fastest place to the smallest.
    pub fn residencies(&self) -> &'static [ResidencyPlan] {
        match self {
            Self::Gpu(_) => &[
                ResidencyPlan::Resident,
                ResidencyPlan::Staged,
                ResidencyPlan::Streamed,
            ],
            Self::Cpu(_) => &[ResidencyPlan::Mapped],
        }
    }

    /// Bytes of memory that a job may take.
    fn usable_bytes(&self) -> u64 {
        match self {
            Self::Gpu(gpu) => gpu.memory_bytes.saturating_sub(RESERVED_BYTES),
            Self::Cpu(cpu) => cpu.free_bytes,
        }
    }

    /// Seconds of one run of `plan` with its weights at hand.
    fn seconds(&self, plan: &Plan) -> f64 {
        match self {
            Self::Gpu(gpu) => gpu::seconds(plan, gpu),
            Self::Cpu(cpu) => cpu::seconds(plan, cpu),
        }
    }

    /// Seconds to copy `bytes` of weights to the device.
    fn copy_seconds(&self, bytes: u64) -> f64 {
        match self {
            Self::Gpu(gpu) => bytes as f64 / gpu.link,
            Self::Cpu(_) => 0.0,
        }
    }
}

/// Where the weights are while a stage runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResidencyPlan {
    /// All networks are resident on the GPU.
    Resident,
    /// One network at a time is resident, loaded before its stage.
    Staged,
    /// Layers are copied from host memory while the one before is computed, two at a time on the GPU.
    Streamed,
    /// They stay in their files, which the CPU reads through the system's cache.
    Mapped,
}

impl ResidencyPlan {
    /// Name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Staged => "staged",
            Self::Streamed => "streamed",
            Self::Mapped => "mapped",
        }
    }
}

/// What a stage takes.
#[derive(Clone, Debug)]
pub struct StageEstimate {
    /// The stage.
    pub stage: Stage,
    /// The network that runs.
    pub part: Component,
    /// Tokens of each forward pass of a run.
    pub tokens: Vec<Tokens>,
    /// Runs of its plans: sampler steps, calls of a decoder.
    pub runs: usize,
    /// Floating-point operations of all runs.
    pub flops: f64,
    /// Bytes of activations and weights that all runs move without fusion.
    pub bytes: f64,
    /// Bytes of the buffers of the largest plan.
    pub arena_bytes: u64,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Its weights on the GPU if layers are streamed: those outside of layers, and the two largest layers.
    pub streamed_weight_bytes: u64,
    /// Seconds with resident weights.
    pub resident_seconds: f64,
    /// Seconds with streamed layers.
    pub streamed_seconds: f64,
}

/// What a job takes.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// What it is for.
    pub machine: Machine,
    /// Whether any layer is FP8.
    pub has_fp8: bool,
    /// The stages in order.
    pub stages: Vec<StageEstimate>,
    /// The fastest residency that fits; none if nothing does, or if an op cannot run.
    pub residency: Option<ResidencyPlan>,
    /// Why the executor cannot run a plan, one sentence each; the memory of such a plan is its own estimate.
    pub refusals: Vec<String>,
}

/// What `work` takes on `machine`; `needs` gives the memory that its executor would allocate for a plan.
pub fn estimate(
    work: &[Work],
    machine: Machine,
    needs: &dyn Fn(&Plan) -> Result<Needs>,
) -> Estimate {
    let mut refusals = Vec::new();
    let mut needs = |plan: &Plan| {
        needs(plan).unwrap_or_else(|refusal| {
            // What is too large for this machine says how large it is.
            if let Error::Memory { need_bytes, .. } = refusal {
                return Needs {
                    values: need_bytes,
                    ..Needs::default()
                };
            }
            refusals.push(refusal.facts(quoted));
            Needs {
                weights: plan.weight_bytes(),
                streamed_weights: plan.weight_bytes(),
                values: plan.arena().bytes as u64,
                ..Needs::default()
            }
        })
    };
    let stages = work.iter().map(|work| stage(work, &machine, &mut needs));
    let stages = stages.collect();
    let specs = |call: &PlannedCall| {
        call.plan
            .buffers()
            .iter()
            .any(|spec| spec.dtype == DType::E4m3)
    };
    let mut estimate = Estimate {
        machine,
        has_fp8: work.iter().flat_map(|work| &work.calls).any(specs),
        stages,
        residency: None,
        refusals,
    };
    let usable = estimate.machine.usable_bytes();
    let fits = |how: &ResidencyPlan| estimate.peak_bytes(*how) <= usable;
    if estimate.refusals.is_empty() {
        let all = estimate.machine.residencies().iter();
        estimate.residency = all.copied().find(fits);
    }
    estimate
}

impl Estimate {
    /// The assumptions behind the times, in words.
    pub fn assumptions(&self) -> String {
        match &self.machine {
            Machine::Gpu(_) => gpu::assumptions(self.has_fp8),
            Machine::Cpu(cpu) => cpu::assumptions(cpu),
        }
    }

    /// The residency that the times and the table are for.
    pub fn how(&self) -> ResidencyPlan {
        let all = self.machine.residencies();
        self.residency.unwrap_or(all[all.len() - 1])
    }

    /// Peak of the device's memory used.
    pub fn peak_bytes(&self, how: ResidencyPlan) -> u64 {
        let most =
            |bytes: fn(&StageEstimate) -> u64| self.stages.iter().map(bytes).max().unwrap_or(0);
        match how {
            ResidencyPlan::Resident => {
                let weights: u64 = self.stages.iter().map(|stage| stage.weight_bytes).sum();
                weights + most(|stage| stage.arena_bytes)
            }
            ResidencyPlan::Staged => most(|stage| stage.weight_bytes + stage.arena_bytes),
            ResidencyPlan::Streamed => {
                most(|stage| stage.streamed_weight_bytes + stage.arena_bytes)
            }
            ResidencyPlan::Mapped => most(|stage| stage.arena_bytes),
        }
    }

    /// Seconds of a stage.
    pub fn seconds(&self, stage: &StageEstimate, how: ResidencyPlan) -> f64 {
        match how {
            ResidencyPlan::Resident | ResidencyPlan::Mapped => stage.resident_seconds,
            ResidencyPlan::Staged => {
                stage.resident_seconds + self.machine.copy_seconds(stage.weight_bytes)
            }
            ResidencyPlan::Streamed => stage.streamed_seconds,
        }
    }

    /// Seconds of all stages.
    pub fn total_seconds(&self) -> f64 {
        let stages = self.stages.iter();
        stages.map(|stage| self.seconds(stage, self.how())).sum()
    }
}

fn stage(work: &Work, machine: &Machine, needs: &mut dyn FnMut(&Plan) -> Needs) -> StageEstimate {
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
    for PlannedCall { plan, runs } in &work.calls {
        let times = *runs as f64;
        let cost = plan.total_cost();
        let needs = needs(plan);
        let seconds = machine.seconds(plan);
        let copied = machine.copy_seconds(needs.copied);
        all.runs += runs;
        all.flops += times * cost.flops;
        all.bytes += times * cost.bytes();
        all.arena_bytes = all.arena_bytes.max(needs.with(0));
        // Of the CPU's memory weights take none.
        let weights = match machine {
            Machine::Gpu(_) => needs.weights,
            Machine::Cpu(_) => plan.weight_bytes(),
        };
        all.weight_bytes = all.weight_bytes.max(weights);
        all.streamed_weight_bytes = all.streamed_weight_bytes.max(needs.streamed_weights);
        all.resident_seconds += times * seconds;
        all.streamed_seconds += times * seconds.max(copied);
    }
    all
}
