//! `gallop bench`: how long a stage takes here, op by op, with synthetic weights.

use clap::Args;
use serde_json::{Value, json};

use super::{
    precision::PrecisionArgument,
    stage::StageArguments,
    terminal::{self, human_seconds},
};
use crate::{
    Result, device,
    executor::Cancel,
    pipeline::{
        Context, Precision,
        bench::{Timing, bench},
        estimate::Work,
    },
};

const AFTER_HELP: &str = "\
Examples:
  gallop bench --stage base
  gallop bench --stage decode --size 256x160 --seconds 1 --runs 5
  gallop bench --stage base --precision fp8
  gallop bench --model published --stage sr --size 1080p --device cuda:0 --json

Weights are synthetic and inputs seeded, so no checkpoint is needed. A run before the measured ones warms up.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    stage: StageArguments,
    #[command(flatten)]
    precision: PrecisionArgument,
    /// Measured runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// auto, cpu or cuda:N
    #[arg(long, default_value = "auto", env = "GALLOP_DEVICE")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, cancel: Cancel) -> Result<()> {
    let (model, job, work) = arguments.stage.work(&arguments.precision.formats)?;
    let executor = super::open_device(&arguments.device)?;
    let context = Context {
        executor: &*executor,
        cancel,
        precision: Precision::default(),
    };
    let timings = bench(&context, &work, arguments.runs.into())?;
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
    if arguments.json {
        return terminal::print_json(&document(&title, &work, &timings));
    }
    terminal::print(&text(&title, &timings))
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
        text.push_str(&format!(
            "{:18} {:>5} {:>11} {:>6} {:>9} {:>9} {:>8}\n",
            "op", "steps", "time", "share", "GFLOP", "GFLOP/s", "GB/s"
        ));
        let mut ops: Vec<_> = timing.ops.iter().collect();
        ops.sort_by_key(|(_, op)| std::cmp::Reverse(op.time));
        for (name, op) in ops {
            let time = op.time.as_secs_f64();
            let rate = |amount: f64| if time > 0.0 { amount / 1e9 / time } else { 0.0 };
            text.push_str(&format!(
                "{name:18} {:>5} {:>8.2} ms {:>4.0} % {:>9.2} {:>9.1} {:>8.1}\n",
                op.steps,
                time * 1e3,
                100.0 * time / seconds,
                op.cost.flops / 1e9,
                rate(op.cost.flops),
                rate(op.cost.bytes())
            ));
        }
    }
    text
}

fn document(title: &str, work: &Work, timings: &[Timing]) -> Value {
    let calls: Vec<Value> = timings
        .iter()
        .map(|timing| {
            let ops: Vec<Value> = timing
                .ops
                .iter()
                .map(|(name, op)| {
                    json!({
                        "op": name, "steps": op.steps, "seconds": op.time.as_secs_f64(),
                        "flops": op.cost.flops, "bytes": op.cost.bytes(),
                    })
                })
                .collect();
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
                "ops": ops,
            })
        })
        .collect();
    json!({
        "title": title,
        "stage": work.stage.name(),
        "network": work.part.key(),
        "version": env!("CARGO_PKG_VERSION"),
        "build": device::build_note(),
        "calls": calls,
    })
}
