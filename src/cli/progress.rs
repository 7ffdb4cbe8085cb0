//! Progress of a clip: bars on a terminal, otherwise one line per stage, or nothing.

use std::{
    io::{IsTerminal, stderr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
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

/// A bar per stage on a terminal, else a line when a stage is done; or nothing. Keeps the notices for the report.
pub(super) struct Bars {
    is_silent: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    notices: Vec<Notice>,
}

struct Current {
    stage: Stage,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl Bars {
    pub(super) fn new(is_silent: bool) -> Self {
        Self {
            is_silent,
            state: Mutex::default(),
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
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
            state.current = Some(Current {
                stage,
                start: Instant::now(),
                bar,
            });
        }
        let Some(current) = &state.current else {
            return;
        };
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
        let line = || terminal::say(&format!("note: {}", words::notice(notice)));
        match &state.current {
            _ if self.is_silent => {}
            Some(Current { bar: Some(bar), .. }) => bar.suspend(line),
            _ => line(),
        }
        state.notices.push(notice.clone());
    }
}
