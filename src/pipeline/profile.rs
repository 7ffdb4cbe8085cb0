//! The user's options for preparing programs, and the times of what ran.
//!
//! Both wrap the executor, so that stages need not know of them: [`ConfiguredExecutor`] prepares plans with the user's
//! options and, with a [`Profile`], keeps the times of every program when it is dropped.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Notice, Progress, Stage,
    request::{Job, Request},
};
use crate::{
    Result, Tensor,
    executor::{Executor, Loaded, Needs, Prepare, Program, ProgramReport},
    plan::{Buf, Plan, TensorList},
    weights::Weights,
};

/// An executor that prepares plans with the user's options.
pub struct ConfiguredExecutor {
    executor: Box<dyn Executor>,
    switches: Prepare,
    profile: Option<Arc<Profile>>,
}

impl ConfiguredExecutor {
    /// `executor` with `switches`, except `taps` and `cancel`, which the caller of `prepare` chooses. If
    /// `switches.profile` is set, times are kept.
    pub fn new(executor: Box<dyn Executor>, switches: Prepare) -> Self {
        let profile = switches.profile.then(|| Arc::new(Profile::new()));
        Self {
            executor,
            switches,
            profile,
        }
    }

    /// The times kept so far, if any are kept.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    fn merged(&self, how: &Prepare) -> Prepare {
        Prepare {
            taps: how.taps,
            cancel: how.cancel.clone(),
            profile: how.profile || self.switches.profile,
            ..self.switches.clone()
        }
    }
}

impl Executor for ConfiguredExecutor {
    fn name(&self) -> String {
        self.executor.name()
    }

    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs> {
        self.executor.check(plan, &self.merged(how))
    }

    fn free_bytes(&self) -> Result<u64> {
        self.executor.free_bytes()
    }

    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        reserve: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>> {
        let how = self.merged(how);
        self.executor.load(weights, tensors, reserve, &how)
    }

    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        let program = self.executor.prepare(plan, loaded, &self.merged(how))?;
        Ok(match &self.profile {
            Some(profile) => Box::new(ProfiledProgram {
                program,
                starts: Vec::new(),
                profile: profile.clone(),
            }),
            None => program,
        })
    }

    fn runs_unrounded(&self) -> bool {
        self.executor.runs_unrounded()
    }
}

/// Times of the programs that ran.
pub struct Profile {
    origin: Instant,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    stage: &'static str,
    programs: Vec<Trace>,
}

/// The runs of one program.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The stage it belonged to.
    pub stage: &'static str,
    /// Start of each run.
    pub starts: Vec<Duration>,
    /// Times within the runs.
    pub report: ProgramReport,
}

impl Profile {
    fn new() -> Self {
        Self {
            origin: Instant::now(),
            log: Mutex::default(),
        }
    }

    /// Programs that end from now on belong to `stage`.
    pub fn enter(&self, stage: Stage) {
        self.log().stage = stage.name();
    }

    /// Traces of all programs that were dropped since the last call, in that order.
    pub fn take_traces(&self) -> Vec<Trace> {
        std::mem::take(&mut self.log().programs)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that leaves its times to a profile when dropped.
struct ProfiledProgram {
    program: Box<dyn Program>,
    starts: Vec<Duration>,
    profile: Arc<Profile>,
}

impl Program for ProfiledProgram {
    fn write(&mut self, buf: Buf, value: &Tensor) -> Result<()> {
        self.program.write(buf, value)
    }

    fn run(&mut self) -> Result<()> {
        self.starts.push(self.profile.origin.elapsed());
        self.program.run()
    }

    fn read(&mut self, buf: Buf) -> Result<Tensor> {
        self.program.read(buf)
    }

    fn report(&self) -> ProgramReport {
        self.program.report()
    }
}

impl Drop for ProfiledProgram {
    fn drop(&mut self) {
        let mut log = self.profile.log();
        let stage = log.stage;
        log.programs.push(Trace {
            stage,
            starts: std::mem::take(&mut self.starts),
            report: self.program.report(),
        });
    }
}

/// Progress that also tells a profile when a stage begins.
pub struct ProfiledProgress<'a> {
    progress: &'a dyn Progress,
    profile: &'a Profile,
}

impl<'a> ProfiledProgress<'a> {
    /// `progress`, and `profile` told of stages.
    pub fn new(progress: &'a dyn Progress, profile: &'a Profile) -> Self {
        Self { progress, profile }
    }
}

impl Progress for ProfiledProgress<'_> {
    fn report(&self, stage: Stage, done: usize, total: usize) {
        self.profile.enter(stage);
        self.progress.report(stage, done, total);
    }

    fn notice(&self, notice: &Notice) {
        self.progress.notice(notice);
    }

    fn begin(&self, request: &Request, job: &Job) {
        self.progress.begin(request, job);
    }
}
