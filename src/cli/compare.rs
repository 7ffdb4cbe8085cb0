//! `gallop dev compare`: a device with the CPU, op by op on the same inputs; or two precisions, layer by layer.

use clap::Args;
use serde_json::{Value, json};

use super::{
    device::DeviceArguments, gemm::GemmArgument, precision::PrecisionArgument, profile,
    stage::StageArguments, terminal,
};
use crate::{
    Error, Result,
    error::Field,
    executor::Executor,
    inspect::{bench, estimate::Work},
    pipeline::QuantizationPolicy,
    qualify::{Check, Verdict, between, compare},
};

const AFTER_HELP: &str = "\
Examples:
  gallop dev compare --device cuda:0
  gallop dev compare --device cuda:0 --stage decode --all
  gallop dev compare --stage sr --size 512x480 --json
  gallop dev compare --device cuda:0 --precision fp8
  gallop dev compare --size 64x64 --seconds 1 \\
    --device cpu --precision fp8 --against bf16

Every step runs alone on the values the CPU has for what it reads, so errors do not add up. A step \
may be off by twice what rounding alone costs on the CPU, and must point the same way. Weights are \
synthetic and inputs seeded. The exit code is 1 if a step is off by more.

With --against the whole stage runs twice on one device, and what each layer hands on is compared: \
errors add up. The weights of denoising networks are those of the folder that --model names, if it \
names one; inputs are seeded noise. There is no limit, since what a model can bear is the clip's to \
show.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    #[command(flatten, next_help_heading = "Stage")]
    stage: StageArguments,
    #[command(flatten, next_help_heading = "Stage")]
    precision: PrecisionArgument,
    #[command(flatten, next_help_heading = "Device")]
    gemm: GemmArgument,
    /// Compare two precisions with each other instead, layer by layer: --precision with these rules
    #[arg(long, value_name = "RULES", help_heading = "Stage")]
    against: Option<QuantizationPolicy>,
    #[command(flatten, next_help_heading = "Device")]
    device: DeviceArguments,
    /// List every step, not only the worst of each op and those that are off
    #[arg(long, help_heading = "Output")]
    all: bool,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.against {
        Some(against) => precisions(arguments, against),
        None => devices(arguments),
    }
}

/// Compares the device with the CPU, op by op.
fn devices(arguments: &Arguments) -> Result<()> {
    let (_, _, work) = arguments.stage.work(&arguments.precision.formats)?;
    let (executor, trace) = arguments
        .device
        .open_and_say(!arguments.json, arguments.gemm.gemm)?;
    let mut checks = Vec::new();
    for call in &work.calls {
        let weights = bench::weights(&work, &call.plan)?;
        let inputs = bench::inputs(&call.plan);
        checks.extend(compare(&call.plan, &weights, &inputs, &executor)?);
    }
    profile::finish(&executor, trace)?;
    terminal::answer(
        arguments.json,
        || document(&work, &executor.name(), &checks),
        || text(&work, &executor.name(), &checks, arguments.all),
    )?;
    let failed = checks
        .iter()
        .filter(|check| check.verdict() == Verdict::Fail)
        .count();
    let problem = "comparisons are off by more than allowed";
    terminal::verdict(failed, checks.len(), problem)
}

/// Compares two precisions, layer by layer.
fn precisions(arguments: &Arguments, against: &QuantizationPolicy) -> Result<()> {
    let formats = &arguments.precision.formats;
    let (_, _, work) = arguments.stage.work(formats)?;
    let (_, _, other_work) = arguments.stage.work(against)?;
    let (executor, trace) = arguments
        .device
        .open_and_say(!arguments.json, arguments.gemm.gemm)?;
    let mut layers = Vec::new();
    for (call, other) in work.calls.iter().zip(&other_work.calls) {
        if call.plan.to_string() == other.plan.to_string() {
            let expected = format!(
                "must give another plan than --precision {formats} for the stage {}",
                work.stage.name()
            );
            return Err(Error::request(Field::Against, expected).found(against));
        }
        let plans = [&call.plan, &other.plan];
        let of = |work, plan, formats| arguments.stage.weights(work, plan, formats);
        let weights = [
            of(&work, plans[0], formats)?,
            of(&other_work, plans[1], against)?,
        ];
        let inputs = bench::inputs(plans[1]);
        layers.extend(between(plans, weights.each_ref(), &inputs, &executor)?);
    }
    profile::finish(&executor, trace)?;
    let what = format!("{formats} against {against} on {}", executor.name());
    let title = title(&work, &what);
    if arguments.json {
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| json!({ "what": layer.label, "error": layer.error }))
            .collect();
        return terminal::print_json(&json!({
            "stage": work.stage.name(), "network": work.part.key(), "device": executor.name(),
            "precision": formats.to_string(), "against": against.to_string(), "layers": layers,
        }));
    }
    let rows = layers
        .iter()
        .map(|layer| format!("{:40} {:.2e}\n", layer.label, layer.error));
    let heading = format!("{:40} relative error, root mean square\n", "result");
    terminal::print(&format!("{title}\n{heading}{}", rows.collect::<String>()))
}

/// Title: the stage, and what is compared.
fn title(work: &Work, what: &str) -> String {
    format!("{} of {}, {what}", work.stage.name(), work.part.key())
}

/// One line per check: all of them, or those that fail and the worst of each op.
fn text(work: &Work, device: &str, checks: &[Check], all: bool) -> String {
    let op_of = |check: &Check| check.what.split(' ').next().unwrap_or_default().to_string();
    let is_worst = |check: &Check| {
        let same = checks.iter().filter(|other| op_of(other) == op_of(check));
        same.map(Check::ratio).fold(0.0, f64::max) <= check.ratio()
    };
    let mut text = title(work, &format!("{device} against cpu")) + "\n";
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
