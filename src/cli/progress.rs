//! Progress of a clip: bars on a terminal, otherwise one line per stage and some while it lasts, or nothing.

use std::{
    io::{IsTerminal, stderr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{forecast::Forecast, terminal, words};
use crate::pipeline::{
    Notice, Progress, Stage,
    request::{Job, Request},
};

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
    /// On the CPU.
    forecast: Option<Forecast>,
    state: Arc<Mutex<State>>,
}

/// A clip that takes longer, seconds, is said to do so before it begins.
const LONG_SECONDS: f64 = 60.0;

/// Time between two lines about one stage.
const PERIOD: Duration = Duration::from_secs(5);

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// Those of this clip.
    notices: Vec<Notice>,
    /// Those that were said, for this clip or one before.
    said: Vec<Notice>,
    /// Seconds that this clip was expected to take, if that was asked.
    estimate: Option<f64>,
}

struct Current {
    stage: Stage,
    start: Instant,
    /// When it had its last line.
    told: Instant,
    steps: (usize, usize),
    /// When the last of them ended.
    stepped: Instant,
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
        let left = match done {
            0 => String::new(),
            _ => {
                let step = (self.stepped - self.start).as_secs_f64() / done as f64;
                let left = step * (total - done) as f64 - self.stepped.elapsed().as_secs_f64();
                let left = match left.max(0.0).round() {
                    few if few < 100.0 => format!("{few} s"),
                    many => terminal::human_seconds(many),
                };
                format!(", about {left} left")
            }
        };
        Some(format!(
            "{:16} {done} of {total} after {took}{left}",
            self.stage.name()
        ))
    }
}

impl Bars {
    pub(super) fn new(is_silent: bool, forecast: Option<Forecast>) -> Self {
        let bars = Self {
            is_silent,
            forecast,
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
        let mut state = self.state();
        state.notices.clear();
        state.estimate = None;
        drop(state);
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

    /// Seconds that this clip was expected to take, if it was no matter of seconds.
    pub(super) fn estimate(&self) -> Option<f64> {
        self.state().estimate
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
                stepped: start,
                bar,
            });
        }
        let Some(current) = &mut state.current else {
            return;
        };
        if current.steps.0 != done {
            current.stepped = Instant::now();
        }
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

    fn begin(&self, request: &Request, job: &Job) {
        let Some(forecast) = &self.forecast else {
            return;
        };
        // What is wrong with the model is said where it is used.
        let Ok(Some(seconds)) = forecast.of(request, job) else {
            return;
        };
        self.state().estimate = Some(seconds);
        if seconds > LONG_SECONDS {
            let threads = rayon::current_num_threads();
            self.notice(&Notice::LongRun { seconds, threads });
        }
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
