//! A job as clients of the OpenAI interface see it.

use serde_json::{Value, json};

use super::answer::members;
use crate::jobs::{JobRecord, JobStatus, Snapshot};

/// The object of `job`; links in it begin with `origin`.
pub(super) fn job_object(job: &Snapshot, origin: &str) -> Value {
    let record = &job.record;
    let resolved = &record.resolved;
    // Clients take every other word for an end.
    let status = match record.status {
        JobStatus::Cancelled => JobStatus::Failed,
        status => status,
    };
    let url = || clip_url(record, origin);
    let file = record.file.as_ref();
    let file = file.map(|file| json!({ "bytes": file.bytes, "sha256": file.sha256, "url": url() }));
    json!({
        "id": record.id,
        "object": "video",
        "model": resolved.model,
        "status": status,
        "progress": job.live.progress,
        "created_at": record.created_ms / 1000,
        "completed_at": record.ended_ms.filter(|_| record.status == JobStatus::Completed).map(|ms| ms / 1000),
        "expires_at": job.expires_ms.map(|ms| ms / 1000),
        "prompt": record.asked.prompt,
        "seconds": seconds_text(resolved.seconds),
        "size": format!("{}x{}", resolved.width, resolved.height),
        "error": record.error.as_ref().map(members),
        "remixed_from_video_id": Value::Null,
        "seed": resolved.seed,
        "stage": job.live.stage_word(),
        "queue_position": job.position,
        "warnings": record.warnings,
        "timings": record.timings,
        "ops": record.ops,
        "attempts": record.attempts,
        "metadata": record.asked.metadata,
        "user": record.asked.user,
        "preview": record.has_preview.then(|| json!({ "url": preview_url(record, origin) })),
        "file": file,
    })
}

/// Where the clip can be read without a key.
pub(super) fn clip_url(record: &JobRecord, origin: &str) -> String {
    let (id, token) = (record.id, &record.token);
    format!("{origin}/v1/videos/{id}/content?t={token}")
}

/// Where the clip of the base pass can be read.
pub(super) fn preview_url(record: &JobRecord, origin: &str) -> String {
    let (id, token) = (record.id, &record.token);
    format!("{origin}/v1/videos/{id}/content?variant=preview&t={token}")
}

/// A length as text, without zeros behind it.
fn seconds_text(seconds: f64) -> String {
    ((1e3 * seconds).round() / 1e3).to_string()
}
