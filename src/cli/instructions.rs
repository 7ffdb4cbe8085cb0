//! `gallop dev instructions`: single instructions of a GPU against their expected results.

use clap::Args;
use serde_json::{Value, json};

use super::{device::open_gpu, terminal};
use crate::{
    Error, Result,
    device::Device as _,
    error::Field,
    executor::Cancel,
    qualify::instructions::{self, InstructionCase, Kept},
};

const AFTER_HELP: &str = "\
Examples:
  gallop dev instructions --device cuda:0
  gallop dev instructions --filter products/ --json

Each case runs one instruction, or a few that belong together, and its result must equal the \
expected bytes. The exit code is 1 if any case failed.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Only cases whose name contains this
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    filter: String,
    /// The GPU, cuda:N
    #[arg(long, default_value = "auto", env = "GALLOP_DEVICE")]
    device: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A case and what was wrong with it.
struct Row {
    name: String,
    problem: Option<String>,
}

pub(super) fn run(arguments: &Arguments, cancel: &Cancel) -> Result<()> {
    let Arguments { filter, json, .. } = arguments;
    let device = open_gpu(&arguments.device)?;
    let mut cases = instructions::cases();
    cases.retain(|case| case.name.contains(filter.as_str()));
    if cases.is_empty() {
        let error = Error::request(Field::Filter, "must be part of a case's name");
        return Err(error.found(format!("`{filter}`")));
    }
    let unrun = |case: &InstructionCase| Row {
        name: case.name.clone(),
        problem: Some("not run: the device failed before".into()),
    };
    let mut rows: Vec<Row> = cases.iter().map(unrun).collect();
    for (case, row) in cases.iter().zip(&mut rows) {
        cancel.check()?;
        let outcome = case.check(&*device);
        row.problem = outcome.as_ref().err().map(ToString::to_string);
        if !json {
            terminal::print(&text(row))?;
        }
        // After a fault the GPU fails every later case too.
        if matches!(outcome, Err(Error::Device { .. })) {
            break;
        }
    }
    let kept = instructions::kept_bits(&*device);
    summarise(*json, &device.name(), &rows, kept)
}

fn summarise(as_json: bool, device: &str, rows: &[Row], kept: Result<Vec<Kept>>) -> Result<()> {
    let failed = rows.iter().filter(|row| row.problem.is_some()).count();
    if as_json {
        let cases: Vec<Value> = rows
            .iter()
            .map(|row| json!({ "name": row.name, "ok": row.problem.is_none(), "problem": row.problem }))
            .collect();
        let kept = kept.map_or_else(|e| json!({ "problem": e.to_string() }), |kept| json!(kept));
        terminal::print_json(&json!({
            "device": device,
            "passed": rows.len() - failed,
            "failed": failed,
            "cases": cases,
            "bits_kept_by_8_bit_sums": kept,
        }))?;
    } else {
        let mut text = format!(
            "{} passed, {failed} failed, on {device}\n",
            rows.len() - failed
        );
        for kept in kept? {
            let sign = if kept.negative { "-" } else { "+" };
            let Kept { place, bits, .. } = kept;
            text.push_str(&format!(
                "8-bit sums keep {bits:2} bits: large {sign} small, {place}\n"
            ));
        }
        terminal::print(&text)?;
    }
    terminal::verdict(failed, rows.len(), "cases failed")
}

fn text(row: &Row) -> String {
    match &row.problem {
        None => format!("ok      {}\n", row.name),
        Some(problem) => format!("FAIL    {}: {problem}\n", row.name),
    }
}
