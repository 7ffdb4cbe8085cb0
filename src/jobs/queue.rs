//! The jobs in memory: which waits, which runs, how far it is, and who wants to hear of it.
//!
//! Every change of a job has one owner, who took it out of the queue or works on it. The owner writes it to the disk
//! first and shows it then, so nobody is told what a crash could undo.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    id::JobId,
    record::{JobRecord, JobStatus, Resolved},
    warning::Warning,
};
use crate::{executor::Cancel, pipeline::Stage};

/// Told that something about a job has changed; must return at once.
pub type OnChange = Arc<dyn Fn() + Send + Sync>;

/// How far a running job is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Live {
    /// Per cent of the planned work, never less than before; 100 only when the clip can be read.
    pub progress: u8,
    /// The stage that runs, with its units done and all of them.
    pub stage: Option<(Stage, usize, usize)>,
}

/// The word of a stage for programs.
pub(super) fn stage_word(stage: Stage) -> String {
    stage.name().replace([' ', '-'], "_")
}

impl Live {
    /// The word of its stage.
    pub fn stage_word(&self) -> Option<String> {
        self.stage.map(|(stage, ..)| stage_word(stage))
    }
}

/// A job at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What is kept of it.
    pub record: Arc<JobRecord>,
    /// How far it is.
    pub live: Live,
    /// Jobs that come before it, the running ones included; 0 for one that does not wait.
    pub position: usize,
    /// When the job and its clip are forgotten, milliseconds since 1970; `None` while it is not final.
    pub expires_ms: Option<u64>,
    /// Grows with every change.
    pub version: u64,
}

/// A page of the list of jobs.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Only jobs behind this one.
    pub after: Option<JobId>,
    /// At most so many.
    pub limit: usize,
    /// The oldest first.
    pub ascending: bool,
}

struct Entry {
    record: Arc<JobRecord>,
    live: Live,
    cancel: Cancel,
    watchers: Vec<(u64, OnChange)>,
    version: u64,
}

impl Entry {
    fn new(record: JobRecord) -> Self {
        let progress = if record.status == JobStatus::Completed {
            100
        } else {
            0
        };
        Self {
            record: Arc::new(record),
            live: Live {
                progress,
                stage: None,
            },
            cancel: Cancel::default(),
            watchers: Vec::new(),
            version: 0,
        }
    }

    fn changed(&mut self) {
        self.version += 1;
        self.watchers.iter().for_each(|(_, tell)| tell());
    }
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, Entry>,
    waiting: BTreeSet<JobId>,
    running: BTreeSet<JobId>,
    watches: u64,
    is_closed: bool,
    keep_ms: u64,
}

/// All jobs of a server.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    /// With jobs of before; final ones are kept for `keep`.
    pub(super) fn with(records: Vec<JobRecord>, keep: Duration) -> Self {
        let queue = Self::default();
        queue.lock().keep_ms = keep.as_millis() as u64;
        records.into_iter().for_each(|record| queue.add(record));
        queue
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change is left half done where something panics: each is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job that is on the disk.
    pub(super) fn add(&self, record: JobRecord) {
        let mut state = self.lock();
        let id = record.id;
        if record.status == JobStatus::Queued {
            state.waiting.insert(id);
        }
        state.jobs.insert(id, Entry::new(record));
        self.changed.notify_all();
    }

    /// The last name that was given.
    pub(super) fn last(&self) -> Option<JobId> {
        self.lock().jobs.keys().next_back().copied()
    }

    /// Jobs that wait, and those that run.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.running.len())
    }

    /// The jobs that run.
    pub(super) fn running(&self) -> Vec<Snapshot> {
        let state = self.lock();
        let running = state.running.iter();
        let entries = running.filter_map(|id| Some((*id, state.jobs.get(id)?)));
        entries
            .map(|(id, entry)| state.snapshot(id, entry))
            .collect()
    }

    /// The oldest job that waits, for whoever works on it, once there is one; `None` after `patience`, and for ever once
    /// the queue is closed.
    pub(super) fn take(&self, patience: Duration) -> Option<(Arc<JobRecord>, Cancel)> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return None;
        }
        let id = state.waiting.pop_first()?;
        state.running.insert(id);
        let entry = &state.jobs[&id];
        Some((entry.record.clone(), entry.cancel.clone()))
    }

    /// Takes a job that waits out of the queue, for whoever ends it.
    pub(super) fn withdraw(&self, id: JobId) -> Option<Arc<JobRecord>> {
        let mut state = self.lock();
        let is_waiting = state.waiting.remove(&id);
        is_waiting.then(|| state.jobs[&id].record.clone())
    }

    /// Puts a job back that could not be ended.
    pub(super) fn give_back(&self, id: JobId) {
        let mut state = self.lock();
        if state.jobs.contains_key(&id) {
            state.waiting.insert(id);
            self.changed.notify_all();
        }
    }

    /// Ends work on a job that was removed.
    pub(super) fn release(&self, id: JobId) {
        self.lock().running.remove(&id);
        self.changed.notify_all();
    }

    /// Whether no more jobs are given out.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Asks whoever works on a job to stop.
    pub(super) fn interrupt(&self, id: JobId) {
        if let Some(entry) = self.lock().jobs.get(&id) {
            entry.cancel.cancel();
        }
    }

    /// Shows a job as it is on the disk now. A job that was removed meanwhile stays so.
    pub(super) fn show(&self, record: JobRecord) {
        let mut state = self.lock();
        let id = record.id;
        if record.status != JobStatus::InProgress {
            state.running.remove(&id);
        }
        let is_waiting = record.status == JobStatus::Queued;
        self.changed.notify_all();
        let Some(entry) = state.jobs.get_mut(&id) else {
            return;
        };
        entry.live = match record.status {
            JobStatus::Completed => Live {
                progress: 100,
                stage: None,
            },
            JobStatus::Queued => Live::default(),
            _ => entry.live,
        };
        entry.record = Arc::new(record);
        entry.changed();
        if is_waiting {
            entry.cancel = Cancel::default();
            state.waiting.insert(id);
        }
    }

    /// How far a running job is; less than before counts as before.
    pub(super) fn advance(&self, id: JobId, live: Live) {
        let mut state = self.lock();
        if let Some(entry) = state.jobs.get_mut(&id)
            && !entry.record.status.is_final()
        {
            let progress = live.progress.clamp(entry.live.progress, 99);
            entry.live = Live { progress, ..live };
            entry.changed();
        }
    }

    /// Adds a warning to a running job; it goes to the disk with the next change.
    pub(super) fn warn(&self, id: JobId, warning: Warning) {
        let mut state = self.lock();
        if let Some(entry) = state.jobs.get_mut(&id) {
            Arc::make_mut(&mut entry.record).warn(warning);
            entry.changed();
        }
    }

    /// Shows that the clip of the base pass of a running job can be read; it goes to the disk with the next change.
    pub(super) fn preview(&self, id: JobId) {
        let mut state = self.lock();
        if let Some(entry) = state.jobs.get_mut(&id) {
            Arc::make_mut(&mut entry.record).has_preview = true;
            entry.changed();
        }
    }

    /// Forgets a job; whoever works on it is asked to stop. Whether there was one.
    pub(super) fn forget(&self, id: JobId) -> bool {
        let mut state = self.lock();
        state.waiting.remove(&id);
        let Some(mut entry) = state.jobs.remove(&id) else {
            return false;
        };
        entry.cancel.cancel();
        entry.changed();
        self.changed.notify_all();
        true
    }

    /// A job at this moment.
    pub(super) fn get(&self, id: JobId) -> Option<Snapshot> {
        let state = self.lock();
        state.jobs.get(&id).map(|entry| state.snapshot(id, entry))
    }

    /// A page of jobs, and whether there are more behind it.
    pub(super) fn list(&self, page: Page) -> (Vec<Snapshot>, bool) {
        use std::ops::Bound::{Excluded, Unbounded};
        let state = self.lock();
        let shown = |(id, entry): (&JobId, &Entry)| state.snapshot(*id, entry);
        let after = page.after.map_or(Unbounded, Excluded);
        let count = page.limit + 1;
        let mut found: Vec<Snapshot> = match page.ascending {
            true => state
                .jobs
                .range((after, Unbounded))
                .take(count)
                .map(shown)
                .collect(),
            false => {
                let all = state.jobs.range((Unbounded, after));
                all.rev().take(count).map(shown).collect()
            }
        };
        let has_more = found.len() == count;
        found.truncate(page.limit);
        (found, has_more)
    }

    /// Final jobs, the oldest first, with the time until which they are kept.
    pub(super) fn ended(&self) -> Vec<(JobId, u64)> {
        let state = self.lock();
        let end = |(id, entry): (&JobId, &Entry)| Some((*id, state.expires_ms(&entry.record)?));
        state.jobs.iter().filter_map(end).collect()
    }

    /// Milliseconds that a clip will take, from the last one that was made: in proportion to its pixels.
    pub(super) fn expected_ms(&self, asked: &Resolved) -> u64 {
        /// Before any clip was made.
        const FIRST_GUESS: u64 = 20_000;
        let state = self.lock();
        let time = |record: &JobRecord| {
            let begin_and_end = record.started_ms.zip(record.ended_ms);
            let made = begin_and_end.filter(|_| record.status == JobStatus::Completed);
            made.map(|(begin, end)| end.saturating_sub(begin) as f64 / record.resolved.volume())
        };
        let last = state
            .jobs
            .values()
            .rev()
            .find_map(|entry| time(&entry.record));
        last.map_or(FIRST_GUESS, |rate| (rate * asked.volume()) as u64)
    }

    /// Calls `tell` at each change of a job until [`Queue::unwatch`] is given the number; `None` without the job.
    pub(super) fn watch(&self, id: JobId, tell: OnChange) -> Option<u64> {
        let mut state = self.lock();
        state.watches += 1;
        let number = state.watches;
        let entry = state.jobs.get_mut(&id)?;
        entry.watchers.push((number, tell));
        Some(number)
    }

    pub(super) fn unwatch(&self, id: JobId, number: u64) {
        if let Some(entry) = self.lock().jobs.get_mut(&id) {
            entry.watchers.retain(|(other, _)| *other != number);
        }
    }

    /// Gives out no more jobs.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until nothing runs, for `patience`; whether nothing does.
    pub(super) fn wait_idle(&self, patience: Duration) -> bool {
        let is_busy = |state: &mut State| !state.running.is_empty();
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, is_busy)
            .unwrap_or_else(PoisonError::into_inner);
        state.running.is_empty()
    }

    /// Waits until a job is final or gone, for `patience`.
    pub(super) fn wait_end(&self, id: JobId, patience: Duration) {
        let is_open = |state: &mut State| {
            let entry = state.jobs.get(&id);
            entry.is_some_and(|entry| !entry.record.status.is_final())
        };
        drop(
            self.changed
                .wait_timeout_while(self.lock(), patience, is_open),
        );
    }

    /// Asks everyone who works on a job to stop.
    pub(super) fn interrupt_all(&self) {
        let state = self.lock();
        for id in &state.running {
            state.jobs.get(id).inspect(|entry| entry.cancel.cancel());
        }
    }
}

impl State {
    fn expires_ms(&self, record: &JobRecord) -> Option<u64> {
        let end = record.ended_ms.filter(|_| record.status.is_final());
        end.map(|end| end.saturating_add(self.keep_ms))
    }

    fn snapshot(&self, id: JobId, entry: &Entry) -> Snapshot {
        let position = match self.waiting.contains(&id) {
            true => self.running.len() + self.waiting.range(..id).count(),
            false => 0,
        };
        Snapshot {
            record: entry.record.clone(),
            live: entry.live,
            position,
            expires_ms: self.expires_ms(&entry.record),
            version: entry.version,
        }
    }
}
