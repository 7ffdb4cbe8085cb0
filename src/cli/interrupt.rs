//! Signals: Ctrl-C, for the subcommands that clean up after themselves, and the limit on a file's size.

use nix::sys::signal::{SigSet, Signal};

use super::terminal;
use crate::{Error, Result, executor::Cancel};

/// What the first Ctrl-C cancels, so that the work stops and cleans up; the second ends the program at once.
pub(super) fn stop_on_interrupt() -> Result<Cancel> {
    let cancel = Cancel::default();
    let interrupted = cancel.clone();
    let handler = move || {
        if interrupted.is_cancelled() {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
        interrupted.cancel();
        terminal::say("stopping; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Error::device(format!("Ctrl-C cannot be handled: {e}")))?;
    Ok(cancel)
}

/// Holds back the signal that a file has reached the size it may have, in this thread and all that it starts: the write
/// fails instead, like one to a full disk.
pub(super) fn fail_on_large_files() {
    let held: SigSet = [Signal::SIGXFSZ].into_iter().collect();
    held.thread_block().expect("a signal that there is");
}
