//! Times of ops as a table and as JSON, and the trace of every launch that `--profile` writes.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::terminal;
use crate::{
    Result,
    executor::Executor,
    inspect::{
        estimate::GpuSpec,
        op_times::{ProfileRow, rows},
    },
    pipeline::{
        AtomicFile,
        profile::{ConfiguredExecutor, Profile, Trace},
        publish,
    },
};

/// Writes the trace to `file`, if there is one, and the table of ops to standard error. The file has no name yet.
pub(super) fn write(
    executor: &ConfiguredExecutor,
    file: Option<AtomicFile>,
) -> Result<Option<AtomicFile>> {
    let (Some(mut file), Some(profile)) = (file, executor.profile()) else {
        return Ok(None);
    };
    let traces = profile.take_traces();
    let text = serde_json::to_string(&document(&traces)).expect("numbers and text are JSON");
    file.write(text.as_bytes())?;
    terminal::say(&table(&rows_of(executor, &traces)));
    Ok(Some(file))
}

/// What ran on `executor` since the last call, as rows of JSON.
pub(super) fn take_rows(executor: &ConfiguredExecutor) -> Vec<Value> {
    let traces = executor.profile().map(Profile::take_traces);
    json(&rows_of(executor, &traces.unwrap_or_default()))
}

fn rows_of(executor: &ConfiguredExecutor, traces: &[Trace]) -> Vec<ProfileRow> {
    let units = traces.iter().flat_map(|trace| &trace.report.units);
    let units = units.map(|unit| (unit, unit.times.len(), unit.times.iter().sum()));
    rows(units, GpuSpec::of_device(&executor.name()).as_ref())
}

/// The same where the trace is all that is written.
pub(super) fn finish(executor: &ConfiguredExecutor, file: Option<AtomicFile>) -> Result<()> {
    publish(write(executor, file)?.into_iter().collect())
}

/// One line for each row.
pub(super) fn table(rows: &[ProfileRow]) -> String {
    let all: Duration = rows.iter().map(|row| row.time).sum();
    let mut text = format!(
        "{:24} {:30} {:>6} {:>11} {:>6} {:>10} {:>9} {:>9} {:>9}",
        "op", "kernel", "calls", "time", "share", "GFLOP", "GFLOP/s", "GB/s", "of floor"
    );
    for row in rows {
        let seconds = row.time.as_secs_f64();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let floor = row.floor.map_or_else(String::new, |floor| {
            format!("{:.0} %", 100.0 * share(floor, seconds))
        });
        text.push_str(&format!(
            "\n{:24} {:30} {:>6} {:>8.2} ms {:>4.0} % {:>10.2} {:>9.1} {:>9.1} {floor:>9}",
            row.op,
            if row.kernels.is_empty() {
                "-"
            } else {
                &row.kernels
            },
            row.calls,
            seconds * 1e3,
            100.0 * share(seconds, all.as_secs_f64()),
            row.cost.flops / 1e9,
            share(row.cost.flops / 1e9, seconds),
            share(row.cost.bytes() / 1e9, seconds),
        ));
    }
    text
}

/// The same as JSON.
pub(super) fn json(rows: &[ProfileRow]) -> Vec<Value> {
    let row = |row: &ProfileRow| {
        json!({
            "op": row.op, "kernel": row.kernels, "calls": row.calls, "seconds": row.time.as_secs_f64(),
            "flops": row.cost.flops, "bytes": row.cost.bytes(), "floor_seconds": row.floor,
        })
    };
    rows.iter().map(row).collect()
}

/// Chrome's trace format: an event for each unit of each run, a track for each program; times in microseconds.
fn document(traces: &[Trace]) -> Value {
    let mut events = Vec::new();
    let mut programs: HashMap<&str, usize> = HashMap::new();
    for (track, trace) in traces.iter().enumerate() {
        let number = programs.entry(trace.stage).or_default();
        *number += 1;
        let name = format!("{} {number}", trace.stage);
        events.push(json!({
            "ph": "M", "name": "thread_name", "pid": 0, "tid": track, "args": { "name": name },
        }));
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        for (run, &start) in trace.starts.iter().enumerate() {
            let mut at = start;
            for unit in &trace.report.units {
                let Some(&time) = unit.times.get(run) else {
                    continue;
                };
                events.push(json!({
                    "ph": "X", "name": unit.label, "cat": unit.op, "pid": 0, "tid": track,
                    "ts": microseconds(at), "dur": microseconds(time),
                    "args": {
                        "stage": trace.stage, "run": run, "steps": [unit.steps.start, unit.steps.end],
                        "op": unit.op, "kernels": unit.kernels,
                        "flops": unit.cost.flops, "bytes": unit.cost.bytes(),
                    },
                }));
                at += time;
            }
        }
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}
