//! One job: what it asks for, how far it is, and what came of it.

use std::{
    cell::Cell,
    ffi::c_void,
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::{
    log::{self, GallopLogLevel},
    state::{GallopJobState, GallopJobStatus, GallopProgress},
    status::{Failure, GallopStatus},
};
use crate::{
    executor::Cancel,
    jobs::{PlanShares, Warning},
    pipeline::{
        Content, EncodeOptions, Notice, Progress, Stage,
        request::{Job as ResolvedJob, Request},
    },
};

/// What is to be made.
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) encode: EncodeOptions,
    /// What was accepted and changes nothing.
    pub(super) warnings: Vec<Warning>,
    pub(super) listener: Listener,
}

/// What was made.
pub(super) struct Made {
    pub(super) mp4: Vec<u8>,
    pub(super) content: Content,
    pub(super) report: Value,
}

/// Whom to tell how far a job is.
#[derive(Clone, Copy)]
pub(super) struct Listener {
    pub(super) function: GallopProgress,
    pub(super) user: *mut c_void,
}

// SAFETY: whoever gives the pointer promises that the function may be called with it from any thread.
unsafe impl Send for Listener {}
// SAFETY: as above; `Making::tell` calls it from one thread at a time.
unsafe impl Sync for Listener {}

thread_local! {
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a function of the caller's that hears how far a job is.
pub(super) fn is_telling() -> bool {
    IS_TELLING.get()
}

/// A job from its order to its end.
pub(super) struct Making {
    pub(super) order: Order,
    pub(super) cancel: Cancel,
    plan: PlanShares,
    progress: Mutex<Live>,
    ended: Condvar,
    outcome: OnceLock<Result<Made, Failure>>,
    /// Held by the thread that tells the listener; others go on without.
    telling: AtomicBool,
}

struct Live {
    state: GallopJobState,
    shares: Vec<(Stage, f64)>,
    warnings: Vec<Warning>,
}

impl Making {
    pub(super) fn new(mut order: Order, plan: &PlanShares) -> Self {
        let live = Live {
            state: GallopJobState::QUEUED,
            shares: Vec::new(),
            warnings: std::mem::take(&mut order.warnings),
        };
        Self {
            order,
            cancel: Cancel::default(),
            plan: plan.clone(),
            progress: Mutex::new(live),
            ended: Condvar::new(),
            outcome: OnceLock::new(),
            telling: AtomicBool::new(false),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> GallopJobState {
        self.live().state
    }

    pub(super) fn warnings(&self) -> Vec<Warning> {
        self.live().warnings.clone()
    }

    /// Its turn has come.
    pub(super) fn start(&self) {
        self.live().state.status = GallopJobStatus::Running;
    }

    /// Its end; only the first counts.
    pub(super) fn end(&self, outcome: Result<Made, Failure>) {
        let status = match &outcome {
            Ok(_) => GallopJobStatus::Completed,
            Err(failure) if failure.status == GallopStatus::Cancelled => GallopJobStatus::Cancelled,
            Err(_) => GallopJobStatus::Failed,
        };
        if self.outcome.set(outcome).is_ok() {
            let mut live = self.live();
            live.state.status = status;
            if status == GallopJobStatus::Completed {
                live.state.progress = 100;
            }
            self.ended.notify_all();
        }
    }

    /// Waits for its end, for ever without a `timeout`.
    ///
    /// # Errors
    /// If the time is over.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        let live = self.live();
        let goes_on = |_: &mut Live| self.outcome.get().is_none();
        let is_over = match timeout {
            None => {
                let live = self.ended.wait_while(live, goes_on);
                drop(live.unwrap_or_else(PoisonError::into_inner));
                false
            }
            Some(timeout) => {
                let waited = self.ended.wait_timeout_while(live, timeout, goes_on);
                waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
            }
        };
        if is_over {
            return Err(Failure::new(GallopStatus::Timeout, "the job goes on"));
        }
        Ok(())
    }

    /// What it made.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(super) fn made(&self) -> Result<&Made, Failure> {
        match self.outcome.get() {
            Some(outcome) => outcome.as_ref().map_err(Failure::clone),
            None => Err(Failure::new(
                GallopStatus::NotReady,
                "the job has not ended yet; wait for it",
            )),
        }
    }

    /// Tells the listener, if no other thread does.
    fn tell(&self) {
        let Listener { function, user } = self.order.listener;
        let Some(function) = function else { return };
        if self.cancel.is_cancelled() || self.telling.swap(true, Ordering::Acquire) {
            return;
        }
        let state = self.state();
        let outer = IS_TELLING.replace(true);
        // SAFETY: the function takes what the request came with, and a state that lives until it returns; `telling` keeps
        // other threads away.
        let answer = unsafe { function(&raw const state, user) };
        IS_TELLING.set(outer);
        self.telling.store(false, Ordering::Release);
        if answer != 0 {
            self.cancel.cancel();
        }
    }
}

/// Per cent that are done when `part` of `stage` is. A stage without a share counts as what is before it.
fn percent(shares: &[(Stage, f64)], stage: Stage, part: f64) -> i32 {
    let sum = |of: &dyn Fn(Stage) -> bool| {
        let all = shares.iter().filter(|(stage, _)| of(*stage));
        all.map(|(_, share)| share).sum::<f64>()
    };
    let before = sum(&|other| other < stage);
    let own = sum(&|other| other == stage);
    let all = sum(&|_| true).max(f64::MIN_POSITIVE);
    (100.0 * (before + own * part.clamp(0.0, 1.0)) / all) as i32
}

impl Progress for Making {
    fn report(&self, stage: Stage, done: usize, total: usize) {
        let is_same = {
            let mut live = self.live();
            let part = done as f64 / total.max(1) as f64;
            let progress = percent(&live.shares, stage, part).min(99);
            let state = GallopJobState {
                status: GallopJobStatus::Running,
                stage: stage.into(),
                step: i32::try_from(done).unwrap_or(i32::MAX),
                steps: i32::try_from(total).unwrap_or(i32::MAX),
                progress: progress.max(live.state.progress),
            };
            std::mem::replace(&mut live.state, state) == state
        };
        if !is_same {
            self.tell();
        }
    }

    fn begin(&self, request: &Request, job: &ResolvedJob) {
        let shares = (self.plan)(request, job);
        self.live().shares = shares;
    }

    fn notice(&self, notice: &Notice) {
        let warning = Warning::from(notice);
        log::tell(GallopLogLevel::Warning, &warning.message);
        self.live().warnings.push(warning);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::request::{Defaults, resolve};

    fn making() -> Making {
        let order = Order {
            request: Request::default(),
            encode: EncodeOptions::default(),
            warnings: Vec::new(),
            listener: Listener {
                function: None,
                user: std::ptr::null_mut(),
            },
        };
        let shares = [(Stage::Text, 1.0), (Stage::Base, 8.0), (Stage::Mux, 1.0)];
        let plan: PlanShares = Arc::new(move |_, _| shares.to_vec());
        Making::new(order, &plan)
    }

    #[test]
    fn the_bar_never_goes_back_and_ends_with_the_job() {
        let making = making();
        let job = resolve(&Request::default(), Defaults::FOLDER, None).unwrap();
        making.begin(&Request::default(), &job);
        let mut seen = Vec::new();
        for (stage, done, total) in [
            (Stage::Text, 1, 1),
            (Stage::Base, 4, 8),
            (Stage::Image, 0, 0),
            (Stage::Base, 8, 8),
            (Stage::Mux, 9, 9),
        ] {
            making.report(stage, done, total);
            seen.push(making.state().progress);
        }
        assert_eq!(seen, [10, 50, 50, 90, 99]);
        let content = Content {
            width: 0,
            height: 0,
            frames: Vec::new(),
            audio: Vec::new(),
        };
        making.end(Ok(Made {
            mp4: Vec::new(),
            content,
            report: Value::Null,
        }));
        assert_eq!(making.state().progress, 100);
        // A second end, of a cancel that came too late, changes nothing.
        making.end(Err(Failure::new(GallopStatus::Cancelled, "too late")));
        assert_eq!(making.state().status, GallopJobStatus::Completed);
        assert!(making.made().is_ok());
    }

    #[test]
    fn waiting_ends_with_the_time_or_with_the_job() {
        let making = making();
        let over = making.wait(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(over.status, GallopStatus::Timeout);
        assert_eq!(
            making.made().err().map(|e| e.status),
            Some(GallopStatus::NotReady)
        );
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| making.wait(None));
            making.end(Err(Failure::new(GallopStatus::Backend, "gone")));
            waits.join().unwrap().unwrap();
        });
        assert_eq!(making.state().status, GallopJobStatus::Failed);
        assert_eq!(making.made().err().map(|e| e.text), Some("gone".into()));
        making.wait(Some(Duration::MAX)).unwrap();
    }
}
