//! The arguments of the program as a whole; those of a subcommand are in its own file.

use clap::{
    CommandFactory, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use clap_complete::Shell;

#[cfg(feature = "serve")]
use super::serve;
use super::{dev::DevCommand, doctor, generate, inspect, pack, plan, terminal, verify};
use crate::{Error, Result};

const AFTER_HELP: &str = "\
Examples:
  gallop generate \"A red ball bounces\" -o ball.mp4
  gallop generate --model DIR --image first.png \"...\"
  gallop plan --size 1080p --gpu h100
  gallop inspect /models/gallop
  gallop verify

Exit codes:
    0  done
    1  verify or dev found a difference or wrong results
    2  usage: an unknown option, an impossible value
    3  input: prompt, image, audio or features file
    4  model files: missing, damaged or of another shape
    5  device or memory: no GPU, no driver, does not fit
    6  output: cannot be written
  130  interrupted; nothing is left behind

Environment:
  GALLOP_MODEL       --model
  GALLOP_DEVICE      --device
  GALLOP_SYNC        1: wait for every step on a GPU, so
                     that an error names its op
  GALLOP_KERNEL_DIR  a folder with cubins to run instead of
                     those that were compiled in

Results go to standard output, everything else to standard error.";

const MINIATURE: &str = "\
The miniature is in this program and runs without --model: a model of the same architecture at tiny widths, for trying \
things out. It shows no people and says nothing.

It was trained on clips of 49 frames at 96x96 that show one ball, square, triangle, star or ring, small or big, in red, \
orange, yellow, green, blue, purple, pink or white, that bounces, slides left, right, up or down, spins, grows, blinks \
or rests on a dark, a grey or a two-tone ground, and is heard.

Prompts may be in English, Mandarin, Cantonese, Japanese, Korean, German or French; words it does not know are listed. \
It takes no picture and no voice. What goes beyond its training is said, and done all the same.";

/// Makes video with sound from a prompt.
#[derive(Debug, Parser)]
#[command(name = "gallop", version, about, after_help = AFTER_HELP, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a clip: prompt in, MP4 out
    Generate(Box<generate::Arguments>),
    /// Say what a clip would take: tokens, memory, time; runs nothing
    Plan(plan::Arguments),
    /// Say what a model folder holds, lacks and suffices for
    Inspect(inspect::Arguments),
    /// Write a model's denoising networks in FP8, once
    Pack(pack::Arguments),
    /// Make clips for clients over HTTP
    #[cfg(feature = "serve")]
    Serve(serve::Arguments),
    /// Replay numbers of the reference implementation on a device
    Verify(verify::Arguments),
    /// Say what this machine and this build offer
    Doctor(doctor::Arguments),
    /// Say what the built-in model can show
    #[command(
        long_about = MINIATURE,
        after_help = "Example:\n  gallop generate \"A blue star slides right\" -o star.mp4"
    )]
    Miniature,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  gallop completions bash > gallop.bash")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  gallop man > ~/.local/share/man/man1/gallop.1")]
    Man,
    /// Commands for kernel developers: compare, bench, instructions, synth
    #[command(
        after_help = "Examples:\n  gallop dev compare --device cuda:0\n  gallop dev bench --stage base"
    )]
    Dev {
        #[command(subcommand)]
        command: DevCommand,
    },
}

/// A usage error, with a tip for whoever forgot the quotes or the command.
pub(super) fn with_tip(mut error: clap::Error) -> clap::Error {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let is_prompt = match error.kind() {
        ErrorKind::UnknownArgument => {
            let is_option = given(ContextKind::InvalidArg).starts_with('-');
            !is_option && error.to_string().contains("[PROMPT]")
        }
        ErrorKind::InvalidSubcommand => given(ContextKind::InvalidSubcommand).contains(' '),
        _ => false,
    };
    if is_prompt {
        let tip = "a prompt is one argument, in quotes: gallop generate \"A red ball bounces\"";
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// The help on the miniature.
pub(super) fn miniature() -> Result<()> {
    let mut program = Arguments::command();
    program.build();
    let topic = program.find_subcommand_mut("miniature");
    let help = topic.expect("it is one").render_long_help();
    terminal::print(&help.to_string())
}

pub(super) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gallop", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))
}

/// One page: the program, then each command; those of `dev` one by one.
pub(super) fn man() -> Result<()> {
    let mut command = Arguments::command();
    command.build();
    let mut page = Vec::new();
    write_man(&command, &mut page).map_err(|e| Error::output_io("manual page", e))?;
    terminal::print(&String::from_utf8_lossy(&page))
}

fn write_man(program: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(program.clone()).render(page)?;
    let commands = program.get_subcommands().flat_map(|command| {
        let is_group = command.has_subcommands() && command.get_name() != "help";
        let own = command.get_subcommands().filter(move |_| is_group);
        let whole = [command].into_iter().filter(move |_| !is_group);
        whole.chain(own)
    });
    for command in commands.filter(|command| command.get_name() != "help") {
        let name = command.get_bin_name().unwrap_or(command.get_name());
        page.extend(format!(".SH \"{}\"\n", name.to_uppercase()).bytes());
        let man = clap_mangen::Man::new(command.clone());
        man.render_synopsis_section(page)?;
        man.render_options_section(page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    /// What is indented, examples and tables, fits into a narrow terminal, which breaks it without an indent.
    #[test]
    fn paragraphs_of_help_are_wrapped_by_the_terminal_alone() {
        const NARROW: usize = 60;
        let mut program = Arguments::command();
        program.build();
        let mut commands = vec![&program];
        let mut count = 0;
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            let of_options = command.get_arguments().flat_map(|argument| {
                let texts = [argument.get_help(), argument.get_long_help()];
                texts.into_iter().flatten()
            });
            let own = [command.get_long_about(), command.get_after_help()];
            for text in own.into_iter().flatten().chain(of_options) {
                let text = text.to_string();
                let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
                let mut pairs = text.lines().zip(text.lines().skip(1));
                let broken = pairs.find(|(line, next)| is_prose(line) && is_prose(next));
                let indented = text.lines().filter(|line| line.starts_with(' '));
                let wide = indented.max_by_key(|line| line.chars().count());
                let wide = wide.filter(|line| line.chars().count() > NARROW);
                assert_eq!((broken, wide), (None, None), "{}", command.get_name());
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
    }
}
