//! What all calls share: the jobs, who may call, and what the model can.

use std::sync::Arc;

use axum::http::HeaderValue;
use serde_json::{Value, json};

use super::{access::Access, metrics::Metrics, uploads::Uploads};
use crate::{
    jobs::{Jobs, Snapshot, now_ms},
    pipeline::request::{Defaults, SECONDS_MAX},
};

/// What a server is to its clients.
pub struct Site {
    /// Who may call.
    pub access: Access,
    /// The model's name.
    pub model: String,
    /// Whether the model takes pictures, and voice tracks.
    pub takes_image_and_audio: (bool, bool),
    /// What a clip is if nothing is asked.
    pub defaults: Defaults,
    /// The page origin whose scripts may call.
    pub cors: Option<HeaderValue>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether DashScope's door is open.
    pub dashscope: bool,
    /// Whether OpenRouter's door is open.
    pub openrouter: bool,
}

pub(super) struct Shared {
    pub(super) jobs: Jobs,
    pub(super) site: Site,
    /// Files that came before their jobs.
    pub(super) uploads: Uploads,
    /// When the server began, seconds since 1970.
    started: u64,
}

impl Shared {
    pub(super) fn new(jobs: Jobs, site: Site) -> Self {
        Self {
            jobs,
            site,
            uploads: Uploads::default(),
            started: now_ms() / 1000,
        }
    }

    /// Seconds until a place in the queue is free, about.
    pub(super) fn next_free_seconds(&self) -> u64 {
        let left = |job: &Snapshot| {
            let part = 1.0 - f64::from(job.live.progress) / 100.0;
            (part * job.record.expected_ms as f64 / 1e3).ceil() as u64
        };
        self.jobs.running().iter().map(left).min().unwrap_or(1)
    }

    /// The model as clients see it.
    pub(super) fn model_object(&self) -> Value {
        let Site {
            model,
            takes_image_and_audio: (takes_image, takes_audio),
            defaults,
            ..
        } = &self.site;
        let modes = [
            ("text-to-video", &true),
            ("image-to-video", takes_image),
            ("audio-to-video", takes_audio),
        ];
        let modes = modes.iter().filter(|(_, can)| **can).map(|(name, _)| name);
        let mut sizes = vec![defaults.size.to_string()];
        for size in ["256p", "540p", "1080p", "WIDTHxHEIGHT"] {
            if sizes[0] != size {
                sizes.push(size.into());
            }
        }
        json!({
            "id": model,
            "object": "model",
            "created": self.started,
            "owned_by": "gallop",
            "capabilities": {
                "sizes": sizes,
                "seconds": { "min": 0.04, "max": SECONDS_MAX, "default": defaults.seconds },
                "modes": modes.collect::<Vec<_>>(),
            },
        })
    }
}
