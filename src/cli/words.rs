//! Errors and notices in the words of the command line: parameters are options.

use std::{error::Error as _, panic::PanicHookInfo};

use crate::{
    Error,
    error::{Field, Hint},
    pipeline::Notice,
};

/// An error, its way out and its causes as one line.
pub(super) fn error(error: &Error) -> String {
    let mut line = with_hint(error.facts(option), error.hint());
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}

/// A notice as one line.
pub(super) fn notice(notice: &Notice) -> String {
    let line = with_hint(notice.facts(option), notice.hint());
    match notice {
        Notice::Miniature => format!("{line}, see `gallop help miniature`"),
        _ => line,
    }
}

/// Exit code after a panic, as every Rust program has it.
pub(super) const BUG_EXIT_CODE: u8 = 101;

/// A panic as one line.
pub(super) fn bug(bug: &PanicHookInfo<'_>) -> String {
    let what = bug.payload_as_str().unwrap_or("no reason given");
    let place = bug.location().map(|at| format!(" at {at}"));
    format!(
        "error: this is a bug in gallop {}: {}{}; please report this line with the command that led to it",
        env!("CARGO_PKG_VERSION"),
        what.replace('\n', " "),
        place.unwrap_or_default()
    )
}

/// The option that gives a parameter.
fn option(field: Field) -> String {
    match field {
        Field::Image => "--image".into(),
        Field::Audio => "--audio".into(),
        Field::Steps => "--steps".into(),
        Field::Prompt => "--prompt-file".into(),
        field => format!("--{}", field.name().replace('_', "-")),
    }
}

fn with_hint(facts: String, hint: Option<Hint>) -> String {
    let what_to_do = match hint {
        None => return facts,
        Some(Hint::Give(field)) => {
            let value = match field {
                Field::Audio | Field::Image => " FILE",
                Field::Model => " DIR for a full model",
                Field::Device => " cuda:N",
                _ => "",
            };
            format!("give {}{value}", option(field))
        }
        Some(Hint::Set(field, value)) => format!("use {} {value}", option(field)),
        Some(Hint::Lower(fields)) => {
            let less = |field: &Field| match field {
                Field::Seconds => "fewer --seconds".into(),
                field => format!("a smaller {}", option(*field)),
            };
            let all: Vec<String> = fields.iter().map(less).collect();
            format!("take {}", all.join(" or "))
        }
        Some(Hint::Replace) => "use --force to replace it".into(),
    };
    format!("{facts}; {what_to_do}")
}

#[cfg(test)]
mod tests {
    use std::io;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn parameters_are_options_that_there_are() {
        let program = super::super::args::Arguments::command();
        // Those of `dev` are one level below.
        let nested = || {
            program
                .get_subcommands()
                .flat_map(clap::Command::get_subcommands)
        };
        let has = |long: &str| {
            let commands = program.get_subcommands().chain(nested());
            let mut all = commands.flat_map(clap::Command::get_arguments);
            all.any(|argument| argument.get_long() == Some(long))
        };
        // What the schedules of a model say is no option.
        let are_options = |field: &&Field| !matches!(field, Field::Shift | Field::NoiseValue);
        for field in Field::ALL.iter().filter(are_options) {
            let option = option(*field);
            assert!(has(option.trim_start_matches('-')), "{option}");
        }
    }

    #[test]
    fn errors_name_options_and_causes() {
        let needs = Error::request(Field::HoldAudio, "needs a voice track");
        let needs = needs.with_hint(Hint::Give(Field::Audio));
        let there = Error::output("a.mp4", "exists").with_hint(Hint::Replace);
        let large = Error::device("too large").with_hint(Hint::SMALLER_CLIP);
        let unread = Error::input_io("a.png", io::Error::other("gone"));
        for (given, expected) in [
            (needs, "--hold-audio needs a voice track; give --audio FILE"),
            (there, "a.mp4: exists; use --force to replace it"),
            (large, "too large; take a smaller --size or fewer --seconds"),
            (
                Error::device("no GPU").with_hint(Hint::USE_CPU),
                "no GPU; use --device cpu",
            ),
            (unread, "a.png: cannot be read: gone"),
        ] {
            assert_eq!(error(&given), expected);
        }
        assert!(notice(&Notice::NegativePromptIgnored).ends_with("; use --variant base"));
    }
}
