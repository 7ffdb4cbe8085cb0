//! The arguments of the program as a whole; those of a subcommand are in its own file.

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::{dev::DevCommand, doctor, generate, inspect, pack, plan, terminal, verify};
use crate::{Error, Result};

const AFTER_HELP: &str = "\
Examples:
  gallop generate \"A red ball bounces on a wooden floor\" -o ball.mp4
  gallop generate --model /models/gallop --size 1080p --image first.png \"...\"
  gallop plan --size 1080p --gpu h100
  gallop inspect /models/gallop
  gallop verify

Exit codes:
    0  done
    1  verify or dev compare found a difference, dev bench wrong results
    2  usage: an unknown option, an impossible value or combination
    3  input: prompt, image, audio or features file
    4  model files: missing, damaged or of another shape
    5  device or memory: no GPU, no driver, does not fit
    6  output: cannot be written
  130  interrupted; nothing is left behind

Environment:
  GALLOP_MODEL       --model
  GALLOP_DEVICE      --device
  GALLOP_SYNC        1: wait for every step on a GPU, so that an error names the op that failed
  GALLOP_KERNEL_DIR  a folder with cubins to run instead of those that were compiled in

Results go to standard output, everything else to standard error.";

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
    /// Replay numbers of the reference implementation on a device
    Verify(verify::Arguments),
    /// Say what this machine and this build offer
    Doctor(doctor::Arguments),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  gallop completions bash > ~/.local/share/bash-completion/completions/gallop"
    )]
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
}
