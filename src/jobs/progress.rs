//! How far a job is, from its plan: each stage has a share of the work, so that the bar does not jump.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    id::JobId,
    queue::{Live, Queue},
    warning::Warning,
};
use crate::pipeline::{
    Notice, Progress, Stage,
    request::{Job, Request},
};

/// Shares of the stages of a job, in their order, of a sum that does not matter.
#[derive(Clone, PartialEq, Debug, Default)]
struct Shares(Vec<(Stage, f64)>);

impl Shares {
    /// Per cent that are done when `done` of `total` units of `stage` are. A stage that is not planned counts as what is
    /// planned before it.
    fn percent(&self, stage: Stage, done: usize, total: usize) -> u8 {
        let all: f64 = self.0.iter().map(|(_, share)| share).sum();
        let before: f64 = self
            .0
            .iter()
            .filter(|(other, _)| *other < stage)
            .map(|(_, share)| share)
            .sum();
        let own = self
            .0
            .iter()
            .find(|(other, _)| *other == stage)
            .map_or(0.0, |(_, share)| *share);
        let part = done as f64 / total.max(1) as f64;
        (100.0 * (before + own * part.min(1.0)) / all.max(f64::MIN_POSITIVE)) as u8
    }
}

/// Gives the stages of a job with the time that each takes, in any unit.
pub type PlanShares = Arc<dyn Fn(&Request, &Job) -> Vec<(Stage, f64)> + Send + Sync>;

/// Hears of a run and tells the queue.
pub(super) struct Reporter {
    queue: Arc<Queue>,
    id: JobId,
    plan: PlanShares,
    /// Decided when the run begins, and what was told last.
    state: Mutex<(Shares, Option<Live>)>,
}

impl Reporter {
    pub(super) fn new(queue: &Arc<Queue>, id: JobId, plan: PlanShares) -> Self {
        Self {
            queue: queue.clone(),
            id,
            plan,
            state: Mutex::default(),
        }
    }
}

impl Progress for Reporter {
    fn report(&self, stage: Stage, done: usize, total: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (shares, last) = &mut *state;
        let live = Live {
            progress: shares.percent(stage, done, total),
            stage: Some((stage, done, total)),
        };
        // The encoder reports every frame, from several threads: what nobody can see is not told.
        let is_same = last.is_some_and(|last| {
            let step = |live: Live| {
                matches!(stage, Stage::Base | Stage::SuperResolution).then_some(live.stage)
            };
            last.progress == live.progress
                && last.stage.map(|(stage, ..)| stage) == Some(stage)
                && step(last) == step(live)
        });
        if !is_same {
            *last = Some(live);
            self.queue.advance(self.id, live);
        }
    }

    fn begin(&self, request: &Request, job: &Job) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = Shares((self.plan)(request, job));
    }

    fn preview(&self) {
        self.queue.preview(self.id);
    }

    fn notice(&self, notice: &Notice) {
        self.queue.warn(self.id, Warning::from(notice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_moves_the_bar_by_its_share() {
        let shares = Shares(vec![
            (Stage::Text, 1.0),
            (Stage::Base, 8.0),
            (Stage::DecodeVideo, 11.0),
        ]);
        for (stage, done, total, percent) in [
            (Stage::Text, 0, 1, 0),
            (Stage::Text, 1, 1, 5),
            (Stage::Base, 4, 8, 25),
            (Stage::Base, 8, 8, 45),
            (Stage::DecodeVideo, 1, 2, 72),
            (Stage::Mux, 3, 9, 100),
            (Stage::Image, 0, 0, 5),
        ] {
            assert_eq!(shares.percent(stage, done, total), percent, "{stage:?}");
        }
    }
}
