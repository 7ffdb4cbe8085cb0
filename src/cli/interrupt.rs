//! Ctrl-C, for the subcommands that clean up after themselves.

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
