//! Progress of a clip: bars on a terminal, otherwise one line per stage and some while it lasts, or nothing.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{terminal, words};
use crate::pipeline::{Notice, Progress, Stage};

/// A bar of bytes or steps; hidden where standard error is no terminal.
fn bar(name: &str, total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates are ours");
    let bar = ProgressBar::new(total).with_style(style.progress_chars("=> "));
    bar.with_prefix(name.to_string())
}

/// A bar of bytes, which shows only on a terminal.
pub(super) fn byte_bar(name: &str, total: u64) -> ProgressBar {
    const BYTES: &str = "{prefix:16} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}, {eta} left";
    if stderr().is_terminal() {
        return bar(name, total, BYTES);
    }
    ProgressBar::hidden()
}

/// A bar per stage on a terminal, else a line when a stage is done and every [`PERIOD`] before; or nothing. Keeps the
/// notices for the report.
pub(super) struct Bars {
    is_silent: bool,
    state: Arc<Mutex<State>>,
}

/// Time between two lines about one stage.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// Those of this clip.
    notices: Vec<Notice>,
    /// Those that were said, for this clip or one before.
    said: Vec<Notice>,
}

struct Current {
    stage: Stage,
    start: Instant,
    /// When it had its last line.
    told: Instant,
    steps: (usize, usize),
    bar: Option<ProgressBar>,
}

impl Current {
    /// A line about it after a period without one.
    fn line(&mut self) -> Option<String> {
        if self.bar.is_some() || self.told.elapsed() < PERIOD {
            return None;
        }
        self.told = Instant::now();
        let (done, total) = self.steps;
        let took = terminal::human_seconds(self.start.elapsed().as_secs_f64());
        Some(format!(
            "{:16} {done} of {total} after {took}",
            self.stage.name()
        ))
    }
}

impl Bars {
    pub(super) fn new(is_silent: bool) -> Self {
        let bars = Self {
            is_silent,
            state: Arc::default(),
        };
        let watched = Arc::downgrade(&bars.state);
        let watch = move || {
            while let Some(state) = watched.upgrade() {
                let line = locked(&state).current.as_mut().and_then(Current::line);
                drop(state);
                line.iter().for_each(|line| terminal::say(line));
                thread::sleep(PERIOD / 10);
            }
        };
        if !is_silent {
            // Without the thread there are fewer lines.
            drop(thread::Builder::new().spawn(watch));
        }
        bars
    }

    /// Begins the clip after `done` of `total`.
    pub(super) fn next(&self, (done, total): (usize, usize), path: Option<&Path>) {
        self.state().notices.clear();
        if let (Some(path), false) = (path.filter(|_| total > 1), self.is_silent) {
            terminal::say(&format!("clip {} of {total}: {}", done + 1, path.display()));
        }
    }

    /// What an error left of a run of several clips.
    pub(super) fn say_made(&self, (done, total): (usize, usize)) {
        self.finish();
        if done > 0 {
            terminal::say(&format!("note: {done} of {total} clips are made and stay"));
        }
    }

    /// What is said behind a clip that was made.
    pub(super) fn say_last(&self) {
        if !self.is_silent && self.state().notices.contains(&Notice::Miniature) {
            say_note(&Notice::Miniature);
        }
    }

    /// Ends the bar of the last stage.
    pub(super) fn finish(&self) {
        if let Some(Current { bar: Some(bar), .. }) = self.state().current.take() {
            bar.finish_and_clear();
        }
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        self.state().notices.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say_note(notice: &Notice) {
    terminal::say(&format!("note: {}", words::notice(notice)));
}

impl Progress for Bars {
    fn report(&self, stage: Stage, done: usize, total: usize) {
        const STEPS: &str = "{prefix:16} [{bar:30}] {pos}/{len}  {elapsed}, {eta} left";
        if self.is_silent {
            return;
        }
        let mut state = self.state();
        if state
            .current
            .as_ref()
            .is_none_or(|current| current.stage != stage)
        {
            let is_terminal = stderr().is_terminal();
            let bar = is_terminal.then(|| bar(stage.name(), total as u64, STEPS));
            if let Some(bar) = &bar {
                bar.enable_steady_tick(Duration::from_millis(500));
            }
            let start = Instant::now();
            state.current = Some(Current {
                stage,
                start,
                told: start,
                steps: (done, total),
                bar,
            });
        }
        let Some(current) = &mut state.current else {
            return;
        };
        current.steps = (done, total);
        if let Some(bar) = &current.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
        if done < total {
            return;
        }
        let took = terminal::human_seconds(current.start.elapsed().as_secs_f64());
        if let Some(bar) = &current.bar {
            bar.finish_and_clear();
        }
        state.current = None;
        terminal::say(&format!("{:16} {took}", stage.name()));
    }

    fn notice(&self, notice: &Notice) {
        let mut state = self.state();
        let line = || say_note(notice);
        match &state.current {
            // What every run would say is said behind the clip, and in front of no error.
            _ if self.is_silent || *notice == Notice::Miniature => {}
            _ if state.said.contains(notice) => {}
            Some(Current { bar: Some(bar), .. }) => bar.suspend(line),
            _ => line(),
        }
        state.notices.push(notice.clone());
        state.said.push(notice.clone());
    }
}
