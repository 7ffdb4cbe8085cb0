//! What works: a thread for each device takes jobs out of the queue and makes their clips, one after the other.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    id::JobId,
    progress::{PlanShares, Reporter},
    queue::{Queue, stage_word},
    record::{ClipFile, JobRecord, JobStatus, now_ms},
    refusal::{Code, Refusal},
    store::JobStore,
};
use crate::{
    error::Field,
    executor::Cancel,
    pipeline::{
        Output, Report, Session,
        request::{Input, Request},
    },
};

/// Whoever runs the server.
pub trait Operator: Send + Sync {
    /// Something that they should know.
    fn say(&self, line: &str);

    /// A job has come to its end.
    fn ended(&self, record: &JobRecord);
}

/// Gives the time and the work of each kind of op that ran since the last call, as rows of JSON.
pub type OpTimes = Box<dyn Fn() -> Vec<Value> + Send>;

/// What a thread makes clips with.
pub struct Worker {
    /// The device and its model.
    pub session: Session,
    /// Where its times are measured; gives nothing where they are not.
    pub ops: OpTimes,
}

/// How long a thread waits for a job before it looks at other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a thread works with.
pub(super) struct Engine {
    /// The device, the model, and what stays of both.
    pub(super) session: Arc<Session>,
    /// Gives the times of what ran since the last call.
    pub(super) ops: OpTimes,
    /// What every request has in common.
    pub(super) base: Request,
    /// What share of the work each stage of a job has.
    pub(super) plan: PlanShares,
    pub(super) store: Arc<JobStore>,
    pub(super) queue: Arc<Queue>,
    /// Is called after each job, and now and then.
    pub(super) tidy: Box<dyn Fn() + Send>,
    pub(super) operator: Arc<dyn Operator>,
}

impl Engine {
    /// Works until the queue is closed.
    pub(super) fn run(&self) {
        while !self.queue.is_closed() {
            if let Some((record, cancel)) = self.queue.take(PATIENCE) {
                self.work(JobRecord::clone(&record), &cancel);
            }
            (self.tidy)();
        }
    }

    fn work(&self, mut record: JobRecord, cancel: &Cancel) {
        record.status = JobStatus::InProgress;
        record.started_ms = Some(now_ms());
        record.attempts += 1;
        if !self.keep(&record) {
            // Removed before it had begun, or not to be kept: nobody works on it.
            self.queue.release(record.id);
            return;
        }
        // A fault of ours fails this job alone.
        let made = catch_unwind(AssertUnwindSafe(|| self.make(&record, cancel)));
        let made = made.unwrap_or_else(|_| {
            let message = "a fault of the server ended the job; its log has the line to report";
            Err(Refusal::new(Code::Internal, message))
        });
        let ops = (self.ops)();
        // What a run tells came to the record in the queue meanwhile.
        if let Some(seen) = self.queue.get(record.id) {
            record.warnings.clone_from(&seen.record.warnings);
            record.has_preview = made.is_ok() && seen.record.has_preview;
        }
        if made.is_err() {
            // It was not there, or the next start removes it.
            drop(fs::remove_file(self.preview(record.id)));
        }
        match made {
            Ok(report) => {
                record.timings = timings(&report);
                record.ops = ops;
                let file = report.file.files.first();
                record.file = file.map(|file| ClipFile {
                    bytes: file.bytes,
                    sha256: file.sha256.clone(),
                });
                record.ended(JobStatus::Completed, None);
            }
            // The server is ending: the job waits for the next one, as if it had not begun.
            Err(refusal) if refusal.code == Code::Cancelled && self.queue.is_closed() => {
                record.status = JobStatus::Queued;
                record.started_ms = None;
                record.attempts -= 1;
            }
            Err(refusal) if refusal.code == Code::Cancelled => {
                record.ended(JobStatus::Cancelled, Some(refusal));
            }
            Err(refusal) => record.ended(JobStatus::Failed, Some(refusal)),
        }
        self.keep(&record);
    }

    /// Writes a job to the disk and shows it. A job that cannot be written fails in memory; one that was removed is gone.
    fn keep(&self, record: &JobRecord) -> bool {
        let saved = self.store.save(record);
        let is_removed = self.queue.get(record.id).is_none();
        match saved {
            Ok(()) => self.queue.show(record.clone()),
            Err(_) if is_removed => self.queue.release(record.id),
            Err(e) => {
                self.operator
                    .say(&format!("job {} cannot be kept: {e}", record.id));
                let mut failed = record.clone();
                let message = format!("the job cannot be kept: {e}");
                failed.file = None;
                failed.ended(
                    JobStatus::Failed,
                    Some(Refusal::new(Code::StorageFull, message)),
                );
                self.operator.ended(&failed);
                self.queue.show(failed);
                return false;
            }
        }
        if record.status.is_final() && !is_removed {
            self.operator.ended(record);
        }
        !is_removed
    }

    fn preview(&self, id: JobId) -> PathBuf {
        self.store.folder(id).join(JobRecord::PREVIEW)
    }

    fn make(&self, record: &JobRecord, cancel: &Cancel) -> Result<Report, Refusal> {
        let folder = self.store.folder(record.id);
        let input = |name: &str, field: Field| -> Result<Option<Input>, Refusal> {
            match fs::read(folder.join(name)) {
                Ok(bytes) => Ok(Some(Input::Bytes {
                    name: field.name().into(),
                    bytes,
                })),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Refusal::new(
                    Code::Internal,
                    format!("an input is gone: {e}"),
                )),
            }
        };
        let image = input(JobRecord::IMAGE, Field::Image)?;
        let audio = input(JobRecord::AUDIO, Field::Audio)?;
        let mut request = record.asked.request(&self.base, image, audio)?;
        request.seed = Some(record.resolved.seed);
        let output = Output {
            force: true,
            encode: record.asked.encode(),
            thumbnail: Some(folder.join(JobRecord::THUMBNAIL)),
            preview: Some(self.preview(record.id)),
            ..Output::new(folder.join(JobRecord::CLIP))
        };
        let reporter = Reporter::new(&self.queue, record.id, self.plan.clone());
        let made = self.session.generate(&request, &output, &reporter, cancel);
        made.map_err(|error| Refusal::from(&error))
    }
}

fn timings(report: &Report) -> serde_json::Map<String, Value> {
    let stages = report.stages.iter();
    let all = stages.map(|(stage, time)| (stage_word(*stage), json!(time.as_secs_f64())));
    all.collect()
}
