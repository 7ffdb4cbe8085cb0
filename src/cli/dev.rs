//! `gallop dev`: the commands for kernel developers, and the names they had before they were moved here.

use std::ffi::OsString;

use clap::Subcommand;

use super::{bench, compare, instructions, interrupt::stop_on_interrupt, synth};
use crate::Result;

#[derive(Debug, Subcommand)]
pub(super) enum DevCommand {
    /// Compare a stage on a device with the CPU, op by op
    Compare(compare::Arguments),
    /// Time a stage on a device, op by op, with synthetic weights; or each kernel alone
    Bench(bench::Arguments),
    /// Check single instructions of a GPU
    Instructions(instructions::Arguments),
    /// Write synthetic weights: the same numbers everywhere
    Synth(synth::Arguments),
}

pub(super) fn run(command: &DevCommand) -> Result<()> {
    match command {
        DevCommand::Compare(arguments) => compare::run(arguments),
        DevCommand::Bench(arguments) => bench::run(arguments, stop_on_interrupt()?),
        DevCommand::Instructions(arguments) => instructions::run(arguments, &stop_on_interrupt()?),
        DevCommand::Synth(arguments) => synth::run(arguments, &stop_on_interrupt()?),
    }
}

/// `arguments`, the program's name first, with an old name of a command replaced by the present one, and for such a
/// name the line that says so.
pub(super) fn with_present_names(mut arguments: Vec<OsString>) -> (Vec<OsString>, Option<String>) {
    let is = |at: usize, word: &str| arguments.get(at).is_some_and(|argument| argument == word);
    let command = if is(1, "help") { 2 } else { 1 };
    let old_name = ["compare", "bench", "synth"]
        .into_iter()
        .find(|name| is(command, name));
    if let Some(name) = old_name {
        arguments.insert(command, "dev".into());
        return (arguments, Some(notice(name, name)));
    }
    let mut options = arguments.iter().take_while(|argument| *argument != "--");
    let switch = options.position(|argument| argument == "--instructions");
    if let Some(switch) = switch.filter(|_| is(1, "verify")) {
        arguments.remove(switch);
        arguments.splice(1..2, ["dev".into(), "instructions".into()]);
        return (
            arguments,
            Some(notice("verify --instructions", "instructions")),
        );
    }
    (arguments, None)
}

fn notice(old: &str, new: &str) -> String {
    format!("`gallop {old}` is now `gallop dev {new}`; the old name still works")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `line` becomes, and whether anything is said about it.
    fn present(line: &str) -> (String, bool) {
        let (arguments, notice) = with_present_names(line.split(' ').map(OsString::from).collect());
        (
            arguments.join(" ".as_ref()).into_string().unwrap(),
            notice.is_some(),
        )
    }

    #[test]
    fn old_names_become_present_ones_and_nothing_else_does() {
        for (old, new) in [
            ("gallop bench --runs 1", "gallop dev bench --runs 1"),
            ("gallop help synth", "gallop help dev synth"),
            (
                "gallop verify --json --instructions --filter a",
                "gallop dev instructions --json --filter a",
            ),
        ] {
            assert_eq!(present(old), (new.into(), true));
        }
        for line in [
            "gallop",
            "gallop dev compare",
            "gallop generate bench",
            "gallop generate --instructions",
            "gallop verify -- --instructions",
        ] {
            assert_eq!(present(line), (line.into(), false));
        }
    }
}
