//! Jobs: clips that are asked for now and made in turn, kept on the disk so that a crash loses none.
//!
//! [`Jobs`] is the only door to them and has six calls: submit, get, list, cancel, remove, watch. Whoever offers jobs to
//! the outside, over HTTP or a queue of many machines, translates to these and back. Knows nothing of networks; an engine
//! thread for each device runs the pipeline. Read `record.rs`, then `store.rs` (the disk), `queue.rs` (the memory) and
//! `engine.rs` (the work).

mod creations;
mod engine;
mod foreign;
mod id;
mod json;
mod parameters;
mod progress;
mod queue;
mod reader;
mod record;
mod refusal;
mod store;
mod warning;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    Error, Result,
    error::Field,
    pipeline::{
        Session,
        request::{Input, Request},
    },
};
use creations::Creations;
pub use creations::content_hash;
use engine::Engine;
pub use engine::{OpTimes, Operator, Worker};
pub use foreign::impossible;
pub use id::{JobId, random_token};
pub use json::parse_json;
pub use parameters::{Asked, PARAMETERS, Parameters};
pub use progress::PlanShares;
use queue::Queue;
pub use queue::{Live, OnChange, Page, Snapshot};
pub use reader::Given;
pub use record::{ClipFile, JobRecord, JobStatus, Resolved, Sender, now_ms};
pub use refusal::{Code, Refusal};
use store::JobStore;
pub use store::Upload;
pub use warning::Warning;

/// How much is taken, and how much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that may wait.
    pub waiting: usize,
    /// How long a job is kept after its end.
    pub keep: Duration,
    /// Bytes that ended jobs may take.
    pub keep_bytes: u64,
    /// Bytes of the disk that stay free.
    pub min_free: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 32,
            keep: Duration::from_secs(24 * 3600),
            keep_bytes: 20_000_000_000,
            min_free: 1_000_000_000,
        }
    }
}

/// What a client sends.
pub struct Submission {
    /// What is asked for.
    pub asked: Asked,
    /// The picture of the first frame.
    pub image: Option<Upload>,
    /// The voice track.
    pub audio: Option<Upload>,
    /// Who asks.
    pub sender: Sender,
}

/// All jobs of a server; clones share them.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    store: Arc<JobStore>,
    queue: Arc<Queue>,
    sessions: Vec<Arc<Session>>,
    operator: Arc<dyn Operator>,
    base: Request,
    limits: Limits,
    /// Held while a job is created: the bound, the keys and the insertion are one step.
    creating: Mutex<Creations>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Jobs {
    /// Opens the jobs in `folder` and starts a thread for each worker; all have one model. `base` is what every
    /// request has in common; `operator` hears what happens.
    ///
    /// # Errors
    /// [`Error::Output`], [`Error::Request`] if the folder cannot be had, [`Error::Device`] if no thread can be started.
    pub fn open(
        folder: &Path,
        workers: Vec<Worker>,
        base: &Request,
        plan: &PlanShares,
        limits: Limits,
        operator: &Arc<dyn Operator>,
    ) -> Result<Self> {
        let (store, records, problems) = JobStore::open(folder)?;
        problems.iter().for_each(|problem| operator.say(problem));
        let creating = Creations::of(&records);
        if workers.is_empty() {
            return Err(Error::device("there is no device"));
        }
        let of = |worker: Worker| (Arc::new(worker.session), worker.ops);
        let (sessions, ops): (Vec<_>, Vec<_>) = workers.into_iter().map(of).unzip();
        let jobs = Self(Arc::new(Shared {
            store: Arc::new(store),
            queue: Arc::new(Queue::with(records, limits.keep)),
            sessions: sessions.clone(),
            operator: operator.clone(),
            base: base.clone(),
            limits,
            creating: Mutex::new(creating),
            threads: Mutex::default(),
        }));
        for (session, ops) in sessions.into_iter().zip(ops) {
            let cleaner = Arc::downgrade(&jobs.0);
            let engine = Engine {
                session,
                ops,
                base: base.clone(),
                plan: plan.clone(),
                store: jobs.0.store.clone(),
                queue: jobs.0.queue.clone(),
                tidy: Box::new(move || {
                    if let Some(shared) = cleaner.upgrade() {
                        Self(shared).expire();
                    }
                }),
                operator: operator.clone(),
            };
            let thread = thread::Builder::new().name("engine".into());
            let started = thread.spawn(move || engine.run());
            let started =
                started.map_err(|e| Error::device(format!("no thread could be started: {e}")))?;
            lock(&jobs.0.threads).push(started);
        }
        Ok(jobs)
    }

    /// An empty file for what a client sends.
    ///
    /// # Errors
    /// [`Code::StorageFull`] if the disk is.
    pub fn upload(&self) -> Result<(Upload, File), Refusal> {
        self.check_disk()?;
        self.0.store.upload().map_err(|e| disk(&e))
    }

    /// Takes a job, once everything that it needs is known to be right and it is on the disk. A request that came before
    /// is the job of then.
    ///
    /// # Errors
    /// Why not.
    pub fn submit(&self, submission: Submission) -> Result<Snapshot, Refusal> {
        let Submission {
            asked,
            image,
            audio,
            sender,
        } = submission;
        let resolved = self.resolve(&asked, image.as_ref(), audio.as_ref());
        let mut creating = lock(&self.0.creating);
        if let Some(id) = creating.known(&sender, |id| self.get(id))? {
            return self
                .get(id)
                .ok_or_else(|| Refusal::not_found(&id.to_string()));
        }
        let made = resolved.and_then(|(resolved, warnings)| {
            self.check_room()?;
            let id = JobId::next(now_ms(), self.0.queue.last());
            let record = JobRecord {
                id,
                status: JobStatus::Queued,
                created_ms: now_ms(),
                started_ms: None,
                ended_ms: None,
                expected_ms: self.0.queue.expected_ms(&resolved),
                attempts: 0,
                asked: asked.parameters,
                resolved,
                warnings: [asked.warnings, warnings].concat(),
                error: None,
                timings: serde_json::Map::new(),
                has_preview: false,
                ops: Vec::new(),
                file: None,
                token: random_token(),
                sender: sender.clone(),
            };
            let inputs = [(JobRecord::IMAGE, image), (JobRecord::AUDIO, audio)];
            let inputs = inputs.into_iter();
            let inputs = inputs.filter_map(|(name, upload)| Some((name, upload?)));
            let kept = self.0.store.create(&record, &inputs.collect::<Vec<_>>());
            kept.map_err(|e| disk(&e))?;
            self.0.queue.add(record);
            Ok(id)
        });
        creating.answer(&sender, made.as_ref().ok().copied());
        let id = made?;
        self.get(id)
            .ok_or_else(|| Refusal::not_found(&id.to_string()))
    }

    /// What a job would be: its numbers, and what the client should know.
    fn resolve(
        &self,
        asked: &Asked,
        image: Option<&Upload>,
        audio: Option<&Upload>,
    ) -> Result<(Resolved, Vec<Warning>), Refusal> {
        let input = |upload: Option<&Upload>, field: Field| -> Result<Option<Input>, Refusal> {
            let bytes = upload.map(|upload| fs::read(upload.path())).transpose();
            let bytes = bytes.map_err(|e| disk(&e))?;
            Ok(bytes.map(|bytes| Input::Bytes {
                name: field.name().into(),
                bytes,
            }))
        };
        let image = input(image, Field::Image)?;
        let audio = input(audio, Field::Audio)?;
        let request = asked.parameters.request(&self.0.base, image, audio)?;
        let session = &self.0.sessions[0];
        let job = session
            .resolve(&request)
            .map_err(|error| Refusal::from(&error))?;
        let (width, height) = job.shown();
        let resolved = Resolved {
            model: session.model().short_name(),
            width,
            height,
            frames: job.frames(),
            seconds: job.seconds(),
            seed: job.seed,
        };
        Ok((resolved, job.notices.iter().map(Warning::from).collect()))
    }

    /// Whether one more job may wait, and lie on the disk.
    fn check_room(&self) -> Result<(), Refusal> {
        if self.0.queue.is_closed() {
            return Err(Refusal::new(
                Code::NotReady,
                "the server is ending; ask again in a moment",
            ));
        }
        let (waiting, _) = self.0.queue.depth();
        if waiting >= self.0.limits.waiting {
            let message = format!("{waiting} jobs are waiting, which is the most; ask again later");
            return Err(Refusal::new(Code::QueueFull, message));
        }
        self.check_disk()
    }

    fn check_disk(&self) -> Result<(), Refusal> {
        let free = self.0.store.free_bytes().map_err(|e| disk(&e))?;
        if free < self.0.limits.min_free {
            let message = "the server's disk has too little room; ask again later";
            return Err(Refusal::new(Code::StorageFull, message));
        }
        Ok(())
    }

    /// A job at this moment.
    pub fn get(&self, id: JobId) -> Option<Snapshot> {
        self.0.queue.get(id)
    }

    /// A page of jobs, and whether there are more behind it.
    pub fn list(&self, page: Page) -> (Vec<Snapshot>, bool) {
        self.0.queue.list(page)
    }

    /// Cancels a job, unless it is final already; its record stays. Waits a moment for one that runs to stop.
    ///
    /// # Errors
    /// [`Code::NotFound`], or that it cannot be written.
    pub fn cancel(&self, id: JobId) -> Result<Snapshot, Refusal> {
        /// Within which a run hears of it.
        const HEARD: Duration = Duration::from_secs(1);
        let queue = &self.0.queue;
        let is_removed = || Refusal::not_found(&id.to_string());
        if let Some(record) = queue.withdraw(id) {
            let mut record = JobRecord::clone(&record);
            let refusal = Refusal::from(&Error::Interrupted);
            record.ended(JobStatus::Cancelled, Some(refusal));
            if let Err(e) = self.0.store.save(&record) {
                queue.give_back(id);
                self.get(id).ok_or_else(is_removed)?;
                return Err(disk(&e));
            }
            self.0.operator.ended(&record);
            queue.show(record);
        } else {
            queue.interrupt(id);
            queue.wait_end(id, HEARD);
        }
        self.get(id).ok_or_else(is_removed)
    }

    /// Forgets a job and its files; one that runs is stopped.
    ///
    /// # Errors
    /// [`Code::NotFound`], or that it cannot be removed.
    pub fn remove(&self, id: JobId) -> Result<(), Refusal> {
        if !self.0.queue.forget(id) {
            return Err(Refusal::not_found(&id.to_string()));
        }
        self.0.store.remove(id).map_err(|e| disk(&e))
    }

    /// Calls `tell` at each change of a job until the watch is dropped.
    ///
    /// # Errors
    /// [`Code::NotFound`]
    pub fn watch(&self, id: JobId, tell: OnChange) -> Result<Watch, Refusal> {
        let number = self.0.queue.watch(id, tell);
        let number = number.ok_or_else(|| Refusal::not_found(&id.to_string()))?;
        Ok(Watch {
            queue: self.0.queue.clone(),
            id,
            number,
        })
    }

    /// Where a file of a job is.
    pub fn path(&self, id: JobId, name: &str) -> PathBuf {
        self.0.store.folder(id).join(name)
    }

    /// Bytes of the devices' memory that weights take now.
    pub fn loaded_bytes(&self) -> u64 {
        self.0
            .sessions
            .iter()
            .map(|session| session.loaded_bytes())
            .sum()
    }

    /// The jobs that run.
    pub fn running(&self) -> Vec<Snapshot> {
        self.0.queue.running()
    }

    /// Jobs that wait, and those that run.
    pub fn depth(&self) -> (usize, usize) {
        self.0.queue.depth()
    }

    /// Whether jobs are taken.
    pub fn is_open(&self) -> bool {
        !self.0.queue.is_closed()
    }

    /// Takes no more jobs and lets what runs come to its end; what has not after `patience` is stopped and waits for the
    /// next start, with all that wait.
    pub fn drain(&self, patience: Duration) {
        /// Within which a run stops.
        const STOP: Duration = Duration::from_secs(10);
        self.0.queue.close();
        if !self.0.queue.wait_idle(patience) {
            self.0.queue.interrupt_all();
            self.0.queue.wait_idle(STOP);
        }
    }

    /// Forgets jobs that ended long ago, and the oldest ones of too many bytes.
    fn expire(&self) {
        let ended = self.0.queue.ended();
        let bytes = |id: JobId| self.0.store.bytes(id);
        let mut all: u64 = ended.iter().map(|(id, _)| bytes(*id)).sum();
        let now = now_ms();
        for (id, expires) in ended {
            if expires > now && all <= self.0.limits.keep_bytes {
                break;
            }
            all -= bytes(id).min(all);
            drop(self.remove(id));
        }
        lock(&self.0.creating).forget_removed(|id| self.get(id).is_some());
    }
}

/// Ends a watch when dropped.
pub struct Watch {
    queue: Arc<Queue>,
    id: JobId,
    number: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.queue.unwatch(self.id, self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each change of what is locked is one assignment, so a panic leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That the disk refused something.
fn disk(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::new(
            Code::StorageFull,
            "the server's disk is full; ask again later",
        ),
        _ => Refusal::new(
            Code::Internal,
            format!("the server's disk refused it: {error}"),
        ),
    }
}
