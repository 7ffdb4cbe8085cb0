//! The command line: the only module that prints and that reads the environment.
//!
//! Results go to standard output, everything else to standard error. [`run`] is the whole program: arguments in,
//! exit code out. One file per subcommand holds its arguments and its `run`; `args.rs` lists them, `dev.rs` those for
//! kernel developers.

mod args;
mod bench;
mod choices;
mod clips;
mod compare;
mod dev;
mod device;
mod doctor;
mod forecast;
mod gemm;
mod generate;
mod inspect;
mod instructions;
mod interrupt;
mod pack;
mod plan;
mod precision;
mod profile;
mod progress;
mod rates;
mod report;
#[cfg(feature = "serve")]
mod serve;
mod stage;
mod staging;
mod synth;
mod terminal;
mod verify;
mod words;

use std::{error::Error as _, ffi::OsString, panic, process::ExitCode};

use clap::Parser;
use rayon::ThreadPoolBuilder;

use crate::{Error, Result};
use args::{Arguments, Command};
use interrupt::{fail_on_large_files, stop_on_interrupt};
pub use terminal::exit_out_of_memory;

/// Runs the program with `arguments`, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    fail_on_large_files();
    let (arguments, notice) = dev::with_present_names(arguments.into_iter().collect());
    if let Some(notice) = notice {
        terminal::say(&notice);
    }
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let is_json = options.any(|argument| argument == "--json");
    if is_json {
        terminal::answer_failures();
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are such answers too; clap knows where to print them and which code they have.
        Err(answer) => {
            let answer = args::with_tip(answer);
            if answer.use_stderr() {
                let code = (answer.exit_code(), "invalid_value");
                terminal::print_failure(code, answer.to_string().trim_end());
            }
            answer.exit()
        }
    };
    panic::set_hook(Box::new(|bug| {
        let line = words::bug(bug);
        terminal::say(&line);
        let code = (words::BUG_EXIT_CODE.into(), "internal_error");
        terminal::print_failure(code, &line);
    }));
    match panic::catch_unwind(|| dispatch(arguments.command)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let code = (error.exit_code().into(), error.code());
            terminal::print_failure(code, &words::error(&error));
            terminal::complain(&error);
            ExitCode::from(error.exit_code())
        }
        Err(_) => ExitCode::from(words::BUG_EXIT_CODE),
    }
}

/// Starts the threads of all data-parallel work now, where that can still fail.
fn start_threads() -> Result<()> {
    match ThreadPoolBuilder::new().build_global() {
        // Without a source: they have been started before.
        Err(e) if e.source().is_some() => Err(Error::device(format!(
            "no threads could be started: {e}; raise the limit on processes or memory, or set RAYON_NUM_THREADS=1"
        ))),
        _ => Ok(()),
    }
}

fn dispatch(command: Command) -> Result<()> {
    start_threads()?;
    match command {
        Command::Generate(arguments) => generate::run(*arguments, &stop_on_interrupt()?),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Pack(arguments) => pack::run(&arguments, &stop_on_interrupt()?),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(&arguments, &stop_on_interrupt()?),
        Command::Verify(arguments) => verify::run(&arguments, &stop_on_interrupt()?),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Miniature => args::miniature(),
        Command::Completions { shell } => args::completions(shell),
        Command::Man => args::man(),
        Command::Dev { command } => dev::run(&command),
    }
}
