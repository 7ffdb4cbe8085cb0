//! A CPU as one rate, measured in a moment, and the time of a plan on it.
//!
//! The rate is that of a wide linear layer, run by the executor itself on all threads. Everything else is set against
//! it: attention by its softmax, products with few outputs by what they gather for each, all steps by the bytes that
//! they move, which on a CPU stand for rounding and for loops that no matrix kernel runs. The shares fit five clips of the
//! miniature; PERF.md has the figures.

use std::time::{Duration, Instant};

use crate::{
    DType, Result,
    executor::{Executor, Prepare},
    inspect::noise::{NoiseWeights, noise},
    plan::{Builder, Dense, Op, Plan},
    weights::Weights,
};

/// An operation of attention takes as long as this many of a linear layer.
const ATTENTION: f64 = 1.2;
/// A product with n outputs takes as long as one with n + this many.
const NARROW: f64 = 40.0;
/// A byte moved takes as long as this many operations.
const BYTE: f64 = 20.0;

/// This machine's CPU.
#[derive(Clone, PartialEq, Debug)]
pub struct CpuSpec {
    /// Threads that compute.
    pub threads: usize,
    /// Memory that is free, bytes.
    pub free_bytes: u64,
    /// FLOP/s of all threads in a wide linear layer.
    pub flops: f64,
}

impl CpuSpec {
    /// Measures the CPU, whose executor is given, for a tenth of a second.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn measure(executor: &dyn Executor) -> Result<Self> {
        const ENOUGH: Duration = Duration::from_millis(100);
        let threads = rayon::current_num_threads();
        // A tile of outputs for each thread.
        let plan = linear([128, 1024, 256 * threads]);
        let weights = Weights::new(Box::new(NoiseWeights::of(&plan)));
        let mut program = executor.load_and_prepare(&plan, &weights, &Prepare::default())?;
        let x = plan.handles().next().expect("the input");
        program.write(x, &noise(plan.spec(x).shape.clone(), DType::Bf16))?;
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < ENOUGH {
            let run = Instant::now();
            program.run()?;
            times.push(run.elapsed());
        }
        // Some runs are disturbed by other programs, some are faster than a CPU can be for long.
        times.sort_unstable();
        let usual = times[times.len() / 2];
        Ok(Self {
            threads,
            free_bytes: executor.free_bytes()?,
            flops: plan.total_cost().flops / usual.as_secs_f64(),
        })
    }
}

fn linear([rows, inputs, outputs]: [usize; 3]) -> Plan {
    let mut p = Builder::new();
    let x = p.input("x", [rows, inputs], DType::Bf16);
    let dense = Dense {
        rows: outputs,
        bias: false,
        weight: DType::Bf16,
        out: DType::Bf16,
    };
    let y = p.linear("y", x, &[rows], dense);
    p.output(y);
    p.finish()
}

/// Seconds of one run of `plan`.
pub(super) fn seconds(plan: &Plan, cpu: &CpuSpec) -> f64 {
    let steps = plan.steps().iter().enumerate();
    let operations = steps.map(|(index, step)| {
        let outputs = plan.spec(step.writes).shape.cols() as f64;
        let share = match step.op {
            Op::Attention(_) => ATTENTION,
            _ => 1.0 + NARROW / outputs,
        };
        let cost = plan.cost(index);
        share * cost.flops + BYTE * cost.bytes()
    });
    operations.sum::<f64>() / cpu.flops
}

/// The assumptions behind the times, in words.
pub(super) fn assumptions(cpu: &CpuSpec) -> String {
    format!(
        "{:.0} GFLOP/s in a linear layer, measured just now on {} threads; an operation of attention takes {ATTENTION} times \
         as long, a byte as long as {BYTE} operations",
        cpu.flops / 1e9,
        cpu.threads
    )
}
