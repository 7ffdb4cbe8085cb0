//! `gallop compare`: a stage op by op on a device and on the CPU, each step on the same inputs.

use clap::Args;
use serde_json::{Value, json};

use super::{device::DeviceArguments, gemm::GemmArgument, stage::StageArguments, terminal};
use crate::{
    Error, Result,
    executor::Executor,
    pipeline::{bench, estimate::Work},
    testing::{Check, Verdict, compare},
};

const AFTER_HELP: &str = "\
Examples:
  gallop compare --device cuda:0
  gallop compare --device cuda:0 --stage decode --size 64x64 --seconds 1 --all
  gallop compare --device cuda:0 --stage sr --size 512x480 --seconds 1 --json

Every step runs alone on the values the CPU has for what it reads, so errors do not add up. A step may be off by twice
what rounding alone costs on the CPU, and must point the same way. Weights are synthetic and inputs seeded. The exit
code is 1 if a step is off by more.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    stage: StageArguments,
    #[command(flatten)]
    gemm: GemmArgument,
    #[command(flatten)]
    device: DeviceArguments,
    /// List every step, not only the worst of each op and those that are off
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (_, _, work) = arguments.stage.work()?;
    let executor = arguments
        .device
        .open(!arguments.json, arguments.gemm.gemm)?;
    let mut checks = Vec::new();
    for call in &work.calls {
        let weights = bench::weights(&work, &call.plan)?;
        let inputs = bench::inputs(&call.plan);
        checks.extend(compare(&call.plan, &weights, &inputs, &executor)?);
    }
    arguments.device.finish(&executor)?;
    if arguments.json {
        terminal::print_json(&document(&work, &executor.name(), &checks))?;
    } else {
        terminal::print(&text(&work, &executor.name(), &checks, arguments.all))?;
    }
    let failed = checks
        .iter()
        .filter(|check| check.verdict() == Verdict::Fail)
        .count();
    if failed == 0 {
        return Ok(());
    }
    let problem = format!(
        "{failed} of {} comparisons are off by more than allowed",
        checks.len()
    );
    Err(Error::Failed { problem })
}

/// One line per check: all of them, or those that fail and the worst of each op.
fn text(work: &Work, device: &str, checks: &[Check], all: bool) -> String {
    let op_of = |check: &Check| check.what.split(' ').next().unwrap_or_default().to_string();
    let is_worst = |check: &Check| {
        let same = checks.iter().filter(|other| op_of(other) == op_of(check));
        same.map(Check::ratio).fold(0.0, f64::max) <= check.ratio()
    };
    let mut text = format!(
        "{} of {}, {device} against cpu\n",
        work.stage.name(),
        work.part.key()
    );
    let mut seen = std::collections::BTreeSet::new();
    for check in checks {
        let is_off = check.verdict() == Verdict::Fail;
        if !(all || is_off || (is_worst(check) && seen.insert(op_of(check)))) {
            continue;
        }
        let verdict = if is_off { "OFF" } else { "ok" };
        text.push_str(&format!(
            "{verdict:4} {:60} error {:.2e}, allowed {:.2e}",
            check.what, check.error, check.allowed
        ));
        match check.worst.as_ref().filter(|_| is_off) {
            Some(worst) => text.push_str(&format!(
                ", worst [{}] {} for {}\n",
                worst.index, worst.got, worst.want
            )),
            None => text.push('\n'),
        }
    }
    text
}

fn document(work: &Work, device: &str, checks: &[Check]) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "what": check.what, "error": check.error, "allowed": check.allowed,
                "ok": check.verdict() == Verdict::Pass,
            })
        })
        .collect();
    json!({ "stage": work.stage.name(), "network": work.part.key(), "device": device, "checks": checks })
}
