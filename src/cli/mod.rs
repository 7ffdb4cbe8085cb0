//! The command line: the only module that prints and that reads the environment.
//!
//! Results go to standard output, everything else to standard error. [`run`] is the whole program: arguments in,
//! exit code out. One file per subcommand holds its arguments and its `run`; `args.rs` lists them.

mod args;
mod bench;
mod compare;
mod device;
mod doctor;
mod gemm;
mod generate;
mod inspect;
mod instructions;
mod pack;
mod plan;
mod precision;
mod profile;
mod progress;
mod rates;
mod report;
mod stage;
mod staging;
mod synth;
mod terminal;
mod verify;
mod words;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use crate::{Error, Result, executor::Cancel};
use args::{Arguments, Command};

/// Runs the program with `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are such answers too; clap knows where to print them and which code they have.
        Err(answer) => answer.exit(),
    };
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(command: Command) -> Result<()> {
    let cancel = Cancel::default();
    if matches!(
        command,
        Command::Generate(_)
            | Command::Synth(_)
            | Command::Pack(_)
            | Command::Verify(_)
            | Command::Bench(_)
    ) {
        stop_on_interrupt(&cancel)?;
    }
    match command {
        Command::Generate(arguments) => generate::run(*arguments, &cancel),
        Command::Verify(arguments) => verify::run(&arguments, &cancel),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments, cancel),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Synth(arguments) => synth::run(&arguments, &cancel),
        Command::Pack(arguments) => pack::run(&arguments, &cancel),
        Command::Completions { shell } => args::completions(shell),
        Command::Man => args::man(),
    }
}

/// The first Ctrl-C asks the work to stop and clean up, the second ends the program at once.
fn stop_on_interrupt(cancel: &Cancel) -> Result<()> {
    let cancel = cancel.clone();
    let handler = move || {
        if cancel.is_cancelled() {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
        cancel.cancel();
        terminal::say("stopping; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler).map_err(|e| Error::device(format!("Ctrl-C cannot be handled: {e}")))
}
