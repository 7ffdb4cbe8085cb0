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
mod plot;
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

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;

use crate::{
    Error, Result,
    device::{self as open, Driver},
    executor::{Cancel, Executor},
};
use args::{Arguments, Command};
use gemm::Gemm;

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
        Command::Generate(arguments) => generate::run(*arguments, cancel),
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

/// The executor called `name`, where `gemm` computes matrix products on a GPU, and for `auto` which that is and why.
fn open_device(name: &str, gemm: Gemm) -> Result<(Box<dyn Executor>, Option<String>)> {
    let options = open::Options {
        kernels: kernel_folder(),
        gemm: gemm.into(),
        library_files: gemm::files(),
    };
    if name == "auto" {
        let (executor, which) = open::choose(&options);
        return Ok((executor, Some(which)));
    }
    Ok((open::open(name, &options)?, None))
}

/// The GPU called `name`.
fn open_gpu(name: &str) -> Result<Arc<Driver>> {
    open::open_gpu(name, kernel_folder().as_deref())
}

/// A folder whose cubins a GPU runs instead of those that were compiled in.
fn kernel_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("GALLOP_KERNEL_DIR")?;
    (!folder.is_empty()).then(|| folder.into())
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
