//! `gallop dev bench`: how long a stage takes here, op by op, with synthetic weights.

use clap::Args;
use serde_json::{Value, json};

use super::{
    choices,
    device::DeviceArguments,
    gemm::GemmArgument,
    precision::PrecisionArgument,
    profile, rates,
    stage::StageArguments,
    terminal::{self, human_seconds},
};
use crate::{
    Error, Result,
    device::{self, GemmChoice},
    executor::{Cancel, Executor},
    inspect::{
        bench::{Timing, bench},
        estimate::Work,
    },
    pipeline::Context,
};

const AFTER_HELP: &str = "\
Examples:
  gallop dev bench --stage base
  gallop dev bench --stage decode --size 256x160 --runs 5
  gallop dev bench --stage base --precision fp8
  gallop dev bench --model published --device cuda:0 --json
  gallop dev bench --kernels --filter gemm/ --device cuda:0

Weights are synthetic and inputs seeded, so no checkpoint is needed. One run before the measured ones warms up. Results \
that are not finite, or that change when each step is measured, are a failure.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten, next_help_heading = "Stage")]
    stage: StageArguments,
    #[command(flatten, next_help_heading = "Stage")]
    precision: PrecisionArgument,
    #[command(flatten, next_help_heading = "Device")]
    gemm: GemmArgument,
    /// Instead of a stage, each kernel of a GPU alone at the sizes of the published model, NVIDIA's library beside ours;
    /// with --json one line for each
    #[arg(long, help_heading = "Measurement")]
    #[arg(conflicts_with_all = ["stage", "formats", "gemm", "residency", "no_graph", "no_fuse", "profile", "runs"])]
    kernels: bool,
    /// With --kernels, only cases whose name contains this
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernels",
        help_heading = "Measurement"
    )]
    filter: Option<String>,
    /// Measured runs
    #[arg(long, default_value_t = 3, help_heading = "Measurement",
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    #[command(flatten, next_help_heading = "Device")]
    device: DeviceArguments,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, cancel: Cancel) -> Result<()> {
    if arguments.kernels {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        return rates::run(filter, &arguments.device.device, arguments.json, &cancel);
    }
    let gemm = arguments.gemm.gemm;
    let (model, job, work) = arguments.stage.work(&arguments.precision.formats)?;
    let (executor, trace) = arguments.device.open_and_say(!arguments.json, gemm)?;
    let mut context = Context::new(&executor);
    context.cancel = cancel;
    if let Some(profile) = executor.profile() {
        profile.enter(work.stage);
    }
    let mut run = 0;
    let mut told = |time: std::time::Duration| {
        run += 1;
        let time = human_seconds(time.as_secs_f64());
        terminal::say(&format!("run {run} took {time}"));
    };
    let timings = bench(&context, &work, arguments.runs.into(), &mut told)?;
    profile::finish(&executor, trace)?;
    let (width, height) = job.pixels();
    let title = format!(
        "{} on {}: {} of {}, precision {}, {width}x{height}, {} frames",
        work.stage.name(),
        executor.name(),
        work.part.key(),
        model,
        arguments.precision.formats,
        job.frames()
    );
    terminal::answer(
        arguments.json,
        || document((&title, gemm), &work, &timings),
        || text(&title, &timings),
    )?;
    faults(gemm, &timings)
}

/// Fails on wrong results: their times are worthless.
fn faults(gemm: GemmChoice, timings: &[Timing]) -> Result<()> {
    let failed = |problem: &str| {
        Err(Error::Failed {
            problem: problem.into(),
        })
    };
    if timings.iter().any(|timing| !timing.is_finite) {
        return failed("the first run gave results that are not finite");
    }
    // With autotuning two programs may pick different GEMMs.
    let differ = |timing: &Timing| timing.is_same_measured == Some(false);
    if gemm != GemmChoice::Auto && timings.iter().any(differ) {
        return failed("the same run gave different results when each step was measured");
    }
    Ok(())
}

fn text(title: &str, timings: &[Timing]) -> String {
    let mut text = format!("{title}\n");
    for timing in timings {
        let seconds = timing.median().as_secs_f64();
        text.push_str(&format!(
            "\none run {} (median of {}), {} runs a clip; prepared in {}; {:.2} GFLOP at {:.1} GFLOP/s\n",
            human_seconds(seconds),
            timing.runs.len(),
            timing.runs_per_clip,
            human_seconds(timing.prepare.as_secs_f64()),
            timing.cost.flops / 1e9,
            timing.cost.flops / 1e9 / seconds
        ));
        text.push_str(&profile::table(&timing.ops));
        text.push('\n');
    }
    text
}

fn document((title, gemm): (&str, GemmChoice), work: &Work, timings: &[Timing]) -> Value {
    let calls: Vec<Value> = timings
        .iter()
        .map(|timing| {
            let runs: Vec<f64> = timing
                .runs
                .iter()
                .map(std::time::Duration::as_secs_f64)
                .collect();
            json!({
                "runs_per_clip": timing.runs_per_clip,
                "prepare_seconds": timing.prepare.as_secs_f64(),
                "median_seconds": timing.median().as_secs_f64(),
                "run_seconds": runs,
                "flops": timing.cost.flops,
                "bytes": timing.cost.bytes(),
                "finite": timing.is_finite,
                "same_measured": timing.is_same_measured,
                "ops": profile::json(&timing.ops),
            })
        })
        .collect();
    json!({
        "title": title,
        "stage": work.stage.name(),
        "network": work.part.key(),
        "gemm": choices::word(&gemm),
        "version": env!("CARGO_PKG_VERSION"),
        "build": device::build_note(),
        "calls": calls,
    })
}
