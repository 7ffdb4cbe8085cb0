//! Report of `generate`: a line, a table, or JSON.

use serde_json::{Map, Value, json};

use super::{terminal::human_seconds, words};
use crate::{
    device,
    error::human_bytes,
    pipeline::{Notice, Report, request::FPS},
};

/// A report and additional facts.
pub(super) struct Outcome<'a> {
    pub(super) report: &'a Report,
    pub(super) notices: Vec<Notice>,
    /// Seconds that were expected, if it was no matter of seconds.
    pub(super) estimate: Option<f64>,
    /// Seconds since the start of the program.
    pub(super) seconds: f64,
}

/// One line for standard output: path, size, length, seed, wall time.
pub(super) fn line(outcome: &Outcome<'_>) -> String {
    let report = outcome.report;
    let (width, height) = report.job.shown();
    let path = report
        .file
        .files
        .first()
        .map_or_else(String::new, |file| file.path.display().to_string());
    format!(
        "{path}  {width}x{height}  {:.2} s  seed {}  made in {}\n",
        report.job.seconds(),
        report.job.seed,
        human_seconds(outcome.seconds)
    )
}

/// Most memory that this program has had so far, bytes, if the system tells.
fn peak_memory_bytes() -> Option<u64> {
    device::bytes_of("/proc/self/status", "VmHWM:")
}

/// What was made and how, one row each. The times of the stages are said as they end.
pub(super) fn table(outcome: &Outcome<'_>) -> String {
    let report = outcome.report;
    let (width, height) = report.job.shown();
    let mut rows: Vec<(String, String)> = Vec::new();
    let clip = format!(
        "{width}x{height}, {} frames at {FPS} per second, {} samples of sound",
        report.file.frames, report.file.samples
    );
    let model = format!(
        "{} on {}, precision {}",
        report.model, report.device, report.formats
    );
    let more = [
        ("all", human_seconds(outcome.seconds)),
        ("model", model),
        ("clip", clip),
        ("encoder", report.file.encoder.clone()),
        ("seed", report.job.seed.to_string()),
        ("latents", format!("sha256 {}", report.latents_sha256)),
    ];
    rows.extend(more.map(|(name, value)| (name.into(), value)));
    if let Some(bytes) = peak_memory_bytes() {
        rows.push(("memory".into(), format!("{} at most", human_bytes(bytes))));
    }
    for file in &report.file.files {
        let value = format!("sha256 {}  {}", file.sha256, human_bytes(file.bytes));
        rows.push(("file".into(), value));
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:16} {value}"))
        .collect();
    lines.join("\n")
}

/// The report as one JSON document.
pub(super) fn json(outcome: &Outcome<'_>) -> Value {
    let report = outcome.report;
    let (width, height) = report.job.shown();
    let mut timings = Map::new();
    for (stage, time) in &report.stages {
        timings.insert(stage.name().into(), json!(time.as_secs_f64()));
    }
    timings.insert("all".into(), json!(outcome.seconds));
    let files: Vec<Value> = report
        .file
        .files
        .iter()
        .map(|file| json!({ "path": file.path.to_string_lossy(), "bytes": file.bytes, "sha256": file.sha256 }))
        .collect();
    let mut document = json!({
        "status": "completed",
        "model": report.model,
        "trained": report.is_trained(),
        "device": report.device,
        "precision": report.formats.to_string(),
        "size": format!("{width}x{height}"),
        "width": width,
        "height": height,
        "seconds": report.job.seconds(),
        "frames": report.file.frames,
        "fps": FPS,
        "audio_samples": report.file.samples,
        "seed": report.job.seed,
        "encoder": report.file.encoder,
        "latents_sha256": report.latents_sha256,
        "files": files,
        "timings": timings,
        "warnings": outcome.notices.iter().map(words::notice).collect::<Vec<_>>(),
        "warning_codes": outcome.notices.iter().map(Notice::code).collect::<Vec<_>>(),
        "environment": { "version": env!("CARGO_PKG_VERSION"), "kernels": device::build_note() },
    });
    if let Some(seconds) = outcome.estimate {
        document["estimated_seconds"] = json!(seconds);
    }
    if let Some(bytes) = peak_memory_bytes() {
        document["peak_memory_bytes"] = json!(bytes);
    }
    document
}
