//! Figures for those who watch a server, as Prometheus reads them.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::jobs::{JobRecord, JobStatus, Jobs};

/// Upper bounds of the times of stages and jobs, seconds: of a second to those of half an hour.
const BOUNDS: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct JobLabels {
    state: &'static str,
    variant: String,
    size: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct StageLabels {
    stage: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CallLabels {
    route: String,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

type Times<L> = Family<L, Histogram, fn() -> Histogram>;

/// What is counted.
pub struct Metrics {
    registry: Mutex<Registry>,
    jobs: Family<JobLabels, Counter>,
    waiting: Gauge,
    job_seconds: Times<StateLabels>,
    stage_seconds: Times<StageLabels>,
    encoder_fps: Gauge<f64, std::sync::atomic::AtomicU64>,
    device_bytes: Family<KindLabels, Gauge>,
    calls: Family<CallLabels, Counter>,
    variant: String,
}

impl Metrics {
    /// Nothing counted yet, of a server whose base pass is `variant`, on `device`.
    pub fn new(variant: String, device: String) -> Arc<Self> {
        let times = || Histogram::new(BOUNDS);
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("gallop")),
            jobs: Family::default(),
            waiting: Gauge::default(),
            job_seconds: Family::new_with_constructor(times),
            stage_seconds: Family::new_with_constructor(times),
            encoder_fps: Gauge::default(),
            device_bytes: Family::default(),
            calls: Family::default(),
            variant,
        };
        metrics.register(device);
        Arc::new(metrics)
    }

    fn register(&self, device: String) {
        let mut registry = self.lock();
        let seconds = Unit::Seconds;
        registry.register("jobs", "Jobs that came to their end", self.jobs.clone());
        registry.register("queue_depth", "Jobs that wait", self.waiting.clone());
        let help = "Time that completed jobs waited and ran";
        registry.register_with_unit("job", help, seconds.clone(), self.job_seconds.clone());
        let help = "Time of the stages of completed jobs";
        registry.register_with_unit("stage", help, seconds, self.stage_seconds.clone());
        let help = "Frames a second of the last clip that was encoded";
        registry.register("encoder_fps", help, self.encoder_fps.clone());
        let help = "Memory of the devices that is taken between jobs";
        registry.register("device_bytes", help, self.device_bytes.clone());
        registry.register(
            "http_requests",
            "Calls that were answered",
            self.calls.clone(),
        );
        let version = ("version", env!("CARGO_PKG_VERSION").to_string());
        let info = Info::new([version, ("device", device)]);
        registry.register("build", "What makes the clips", info);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job has come to its end.
    pub fn ended(&self, record: &JobRecord) {
        let resolved = &record.resolved;
        self.jobs
            .get_or_create(&JobLabels {
                state: record.status.name(),
                variant: self.variant.clone(),
                size: format!("{}x{}", resolved.width, resolved.height),
            })
            .inc();
        let times = record.started_ms.zip(record.ended_ms);
        let (JobStatus::Completed, Some((start, end))) = (record.status, times) else {
            return;
        };
        for (state, from, to) in [
            ("queued", record.created_ms, start),
            ("running", start, end),
        ] {
            let seconds = to.saturating_sub(from) as f64 / 1e3;
            self.job_seconds
                .get_or_create(&StateLabels { state })
                .observe(seconds);
        }
        for (stage, seconds) in &record.timings {
            let seconds = seconds.as_f64().unwrap_or_default();
            let stage = stage.clone();
            if stage == "mux" && seconds > 0.0 {
                self.encoder_fps.set(resolved.frames as f64 / seconds);
            }
            self.stage_seconds
                .get_or_create(&StageLabels { stage })
                .observe(seconds);
        }
    }

    /// A call to `route`, its pattern, was answered with `code`.
    pub(super) fn answered(&self, route: String, code: u16) {
        self.calls.get_or_create(&CallLabels { route, code }).inc();
    }

    /// All figures in Prometheus' text format.
    pub(super) fn text(&self, jobs: &Jobs) -> String {
        self.waiting.set(jobs.depth().0 as i64);
        let weights = self
            .device_bytes
            .get_or_create(&KindLabels { kind: "weights" });
        weights.set(jobs.loaded_bytes() as i64);
        drop(weights);
        let mut text = String::new();
        encode(&mut text, &self.lock()).expect("a String takes all");
        text
    }
}
