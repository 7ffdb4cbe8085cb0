//! Server-sent events of a job: each change of its state and progress as it happens.
//!
//! An event is the state of a moment, not a step from the one before, so nothing is kept for clients that come back: they
//! get the present state, and all that follows.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde_json::json;
use tokio::sync::Notify;

use super::{
    answer::Answer,
    job_object::{job_object, preview_url},
};
use crate::jobs::{JobId, JobStatus, Jobs, Live, Watch};

/// After so long without an event a comment keeps the connection open.
const ALIVE: Duration = Duration::from_secs(15);

/// What a client has been told.
struct Follower {
    jobs: Jobs,
    id: JobId,
    origin: String,
    changed: Arc<Notify>,
    _watch: Watch,
    version: Option<u64>,
    told: Option<(JobStatus, Live, usize)>,
    waiting: std::collections::VecDeque<Event>,
    has_preview: bool,
    is_done: bool,
}

/// The events of job `id`.
pub(super) fn follow(
    jobs: &Jobs,
    id: JobId,
    origin: String,
    headers: &HeaderMap,
) -> Result<Response, Answer> {
    let changed = Arc::new(Notify::new());
    let tell = changed.clone();
    let watch = jobs.watch(id, Arc::new(move || tell.notify_one()))?;
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let follower = Follower {
        jobs: jobs.clone(),
        id,
        origin,
        changed,
        _watch: watch,
        version: last.and_then(|text| text.parse().ok()),
        told: None,
        waiting: std::collections::VecDeque::new(),
        has_preview: false,
        is_done: false,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let answer = Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE));
    let mut response = answer.into_response();
    // Proxies collect answers otherwise.
    let name = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("no"));
    Ok(response)
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_done {
                return None;
            }
            if !self.look() {
                self.changed.notified().await;
            }
        }
    }

    /// Collects the events for what has changed; whether anything has.
    fn look(&mut self) -> bool {
        let Some(job) = self.jobs.get(self.id) else {
            let gone = json!({ "id": self.id, "object": "video.deleted", "deleted": true });
            self.waiting
                .push_back(Event::default().event("done").data(gone.to_string()));
            self.is_done = true;
            return true;
        };
        let status = job.record.status;
        // A client that comes back has seen this moment.
        if self.version == Some(job.version) && !status.is_final() {
            self.told
                .get_or_insert((status, job.live, job.record.warnings.len()));
            return false;
        }
        self.version = Some(job.version);
        let event = |name: &str, data: serde_json::Value| {
            Event::default()
                .event(name)
                .id(job.version.to_string())
                .data(data.to_string())
        };
        let said = self.told.map_or(0, |(_, _, warnings)| warnings);
        for warning in job.record.warnings.iter().skip(said) {
            self.waiting.push_back(event("warning", json!(warning)));
        }
        if self.told.is_none_or(|(before, ..)| before != status) {
            let data = json!({ "status": status, "queue_position": job.position });
            self.waiting.push_back(event("status", data));
        }
        if self.told.is_none_or(|(_, live, _)| live != job.live) {
            let (step, steps) = job.live.stage.map(|(_, done, all)| (done, all)).unzip();
            let (stage, progress) = (job.live.stage_word(), job.live.progress);
            let data =
                json!({ "progress": progress, "stage": stage, "step": step, "steps": steps });
            self.waiting.push_back(event("progress", data));
        }
        if job.record.has_preview && !self.has_preview {
            self.has_preview = true;
            let url = preview_url(&job.record, &self.origin);
            self.waiting
                .push_back(event("preview", json!({ "url": url })));
        }
        self.told = Some((status, job.live, job.record.warnings.len()));
        if status.is_final() {
            self.waiting
                .push_back(event("done", job_object(&job, &self.origin)));
            self.is_done = true;
        }
        true
    }
}
