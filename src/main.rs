//! The `gallop` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    gallop::cli::run(std::env::args_os())
}
