//! Timings of a stage's plans with synthetic weights and seeded inputs: what a stage costs on a device, op by op,
//! without a checkpoint.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    estimate::{GpuSpec, PlannedCall, Work},
    op_times::{ProfileRow, rows},
};
use crate::{
    DType, Result, Shape, Tensor,
    executor::{Prepare, Program, UnitReport, required_tensors},
    pipeline::{Context, networks::network_of},
    plan::{Buf, Cost, Op, Plan, Role, Step},
    sampler::noise,
    weights::{Synthetic, Weights, is_finite, quantized},
};

/// Seed of weights and inputs; times do not depend on it, results do.
const SEED: u64 = 0;

/// Times of one plan.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Runs of the plan for one clip.
    pub runs_per_clip: usize,
    /// Time to load the weights and prepare the plan.
    pub prepare: Duration,
    /// Each measured run, shortest first, after one run to warm up.
    pub runs: Vec<Duration>,
    /// Work of one run.
    pub cost: Cost,
    /// By op: the mean of the runs in which each step was measured.
    pub ops: Vec<ProfileRow>,
    /// Whether all results of the first run are finite numbers.
    pub is_finite: bool,
    /// Whether a program that measures each step gives the same bits; `None` if it is the same program.
    pub is_same_measured: Option<bool>,
}

impl Timing {
    /// The median of the measured runs.
    pub fn median(&self) -> Duration {
        self.runs[self.runs.len() / 2]
    }
}

/// Runs each plan of `work` once and then `runs` times more; `told` gets the time of each run as it ends.
///
/// # Errors
/// Those of the executor; [`crate::Error::Interrupted`].
///
/// # Panics
/// If `runs` is 0.
pub fn bench(
    context: &Context<'_>,
    work: &Work,
    runs: usize,
    told: &mut dyn FnMut(Duration),
) -> Result<Vec<Timing>> {
    assert!(runs > 0, "nothing to measure");
    work.calls
        .iter()
        .map(|call| time(context, work, call, runs, told))
        .collect()
}

fn time(
    context: &Context<'_>,
    work: &Work,
    call: &PlannedCall,
    runs: usize,
    told: &mut dyn FnMut(Duration),
) -> Result<Timing> {
    let how = context.how();
    context.executor.check(&call.plan, &how)?;
    let weights = weights(work, &call.plan)?;
    let start = Instant::now();
    let mut program = ready(context, call, &weights, &how)?;
    let prepare = start.elapsed();
    let mut once = |program: &mut dyn Program| -> Result<Duration> {
        let start = Instant::now();
        program.run()?;
        let time = start.elapsed();
        told(time);
        Ok(time)
    };
    once(&mut *program)?;
    let results = results(&call.plan, &mut *program)?;
    let mut times = (0..runs)
        .map(|_| once(&mut *program))
        .collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    let mut report = program.report();
    let mut is_same_measured = None;
    if report.units.iter().any(|unit| unit.times.is_empty()) {
        // Measuring each step may take time itself, so a second program does it.
        drop(program);
        let how = Prepare {
            profile: true,
            ..how
        };
        let mut program = ready(context, call, &weights, &how)?;
        once(&mut *program)?;
        let again = self::results(&call.plan, &mut *program)?;
        let is_same = |(a, b): (&Tensor, &Tensor)| a.bytes() == b.bytes();
        is_same_measured = Some(results.iter().zip(&again).all(is_same));
        once(&mut *program)?;
        report = program.report();
    }
    let mean = |unit: &UnitReport| -> Duration {
        let measured = &unit.times[1..];
        measured.iter().sum::<Duration>() / u32::try_from(measured.len()).unwrap_or(u32::MAX)
    };
    let units = report.units.iter().map(|unit| (unit, 1, mean(unit)));
    Ok(Timing {
        runs_per_clip: call.runs,
        prepare,
        runs: times,
        cost: call.plan.total_cost(),
        ops: rows(units, GpuSpec::of_device(&context.executor.name()).as_ref()),
        is_finite: results
            .iter()
            .all(|result| is_finite(result, 0..result.shape().count())),
        is_same_measured,
    })
}

/// A program with its inputs.
fn ready(
    context: &Context<'_>,
    call: &PlannedCall,
    weights: &Weights,
    how: &Prepare,
) -> Result<Box<dyn Program>> {
    let mut program = context
        .executor
        .load_and_prepare(&call.plan, weights, how)?;
    for (buf, value) in inputs(&call.plan) {
        program.write(buf, &value)?;
    }
    Ok(program)
}

/// The outputs of a run.
fn results(plan: &Plan, program: &mut dyn Program) -> Result<Vec<Tensor>> {
    let outputs = plan
        .handles()
        .filter(|&buf| plan.spec(buf).role == Role::Output && plan.spec(buf).part.is_none());
    outputs.map(|buf| program.read(buf)).collect()
}

/// Synthetic weights for a plan of `work`, rounded where the plan has them quantised.
///
/// # Errors
/// [`crate::Error::Weights`] if the network lacks a tensor of the plan, which would be a bug.
pub fn weights(work: &Work, plan: &Plan) -> Result<Weights> {
    let (full, formats) = quantized::unquantized_specs(required_tensors(plan));
    let source = Synthetic::new(network_of(work.part), &full, SEED)?;
    Ok(Weights::new(Box::new(source)).quantized(formats))
}

/// Values for every input and state: normal numbers for floats, sines and cosines of such for rotary tables, 0 for ids.
pub fn inputs(plan: &Plan) -> Vec<(Buf, Tensor)> {
    let is_ours = |buf: &Buf| {
        let spec = plan.spec(*buf);
        matches!(spec.role, Role::Input | Role::State) && spec.part.is_none()
    };
    let is_rope = |step: &&Step| matches!(step.op, Op::Rope { .. });
    let rotations = plan.steps().iter().filter(is_rope);
    let rotations: HashSet<Buf> = rotations.map(|step| plan.root(step.reads[1])).collect();
    let value = |buf: Buf| {
        let spec = plan.spec(buf);
        let shape = spec.shape.clone();
        if rotations.contains(&buf) {
            return rotation(shape, &spec.label);
        }
        match spec.dtype {
            DType::F32 | DType::Bf16 | DType::F16 | DType::E4m3 => {
                let count = shape.count();
                Tensor::from_f32(shape, &noise::normal(SEED, &spec.label, count))
            }
            DType::U8 | DType::I16 | DType::I32 => Tensor::zeros(shape, spec.dtype),
        }
    };
    plan.handles()
        .filter(is_ours)
        .map(|buf| (buf, value(buf)))
        .collect()
}

/// Rows of `[sin, cos]` of angles.
fn rotation(shape: Shape, label: &str) -> Tensor {
    let mut values = noise::normal(SEED, label, shape.count());
    for row in values.chunks_exact_mut(shape.cols()) {
        let (sines, cosines) = row.split_at_mut(shape.cols() / 2);
        for (sine, cosine) in sines.iter_mut().zip(cosines) {
            (*sine, *cosine) = sine.sin_cos();
        }
    }
    Tensor::from_f32(shape, &values)
}
