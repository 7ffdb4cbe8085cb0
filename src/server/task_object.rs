//! A job as clients of DashScope see it.

use serde_json::{Value, json};

use super::{dialect::task_code, job_object::clip_url};
use crate::{
    jobs::{JobStatus, Snapshot},
    pipeline::request::FPS,
};

/// The word for the state of a job: in capitals, or clients poll for ever.
pub(super) fn state_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Queued => "PENDING",
        JobStatus::InProgress => "RUNNING",
        JobStatus::Completed => "SUCCEEDED",
        JobStatus::Failed => "FAILED",
        JobStatus::Cancelled => "CANCELED",
    }
}

/// The object of `job`; links in it begin with `origin`.
pub(super) fn task_object(job: &Snapshot, origin: &str) -> Value {
    let record = &job.record;
    let mut output = json!({
        "task_id": record.id.uuid(),
        "task_status": state_word(record.status),
        "submit_time": time_text(record.created_ms),
        "orig_prompt": record.asked.prompt,
    });
    if let Some(start) = record.started_ms {
        output["scheduled_time"] = time_text(start).into();
    }
    if let Some(end) = record.ended_ms {
        output["end_time"] = time_text(end).into();
    }
    if record.status == JobStatus::Completed {
        output["video_url"] = clip_url(record, origin).into();
    }
    if let Some(error) = &record.error {
        if record.status == JobStatus::Failed {
            output["code"] = task_code(error.code).into();
        }
        output["message"] = error.message.clone().into();
    }
    output
}

/// What a clip was: numbers where the service has numbers, or its clients refuse the whole answer.
pub(super) fn usage(job: &Snapshot) -> Value {
    let resolved = &job.record.resolved;
    let (width, height) = (resolved.width, resolved.height);
    let common = (1..=width.min(height))
        .rev()
        .find(|n| width % n == 0 && height % n == 0)
        .unwrap_or(1);
    json!({
        "duration": resolved.seconds,
        "output_video_duration": resolved.seconds,
        "video_count": 1,
        "fps": FPS,
        "SR": width.min(height),
        "size": format!("{width}*{height}"),
        "ratio": format!("{}:{}", width / common, height / common),
    })
}

/// A time as the service writes it, in UTC+8, without saying so.
pub(super) fn time_text(milliseconds: u64) -> String {
    let offset = time::UtcOffset::from_hms(8, 0, 0).expect("a real offset");
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let time = time::OffsetDateTime::from_unix_timestamp(seconds);
    let time = time
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
        .to_offset(offset);
    let (date, month) = (time.date(), u8::from(time.month()));
    let (hour, minute, second) = time.to_hms();
    let (year, day, rest) = (date.year(), date.day(), milliseconds % 1000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{rest:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_utc_plus_8() {
        assert_eq!(time_text(0), "1970-01-01 08:00:00.000");
        assert_eq!(time_text(1_795_364_215_042), "2026-11-23 00:16:55.042");
    }
}
