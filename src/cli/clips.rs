//! Which clips `gallop generate` makes: a prompt or several, with one seed or several, and the names of the files.

use std::{
    fs::{self, File},
    io::stdin,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    Error, Result,
    error::{self, Field, GivenFile},
    executor::Cancel,
    pipeline::{
        Output,
        request::{Request, random_seed},
    },
};

/// The heading of the options that say what to make.
pub(super) const CONTENT: &str = "What to make";

/// Most clips of one run.
const MAX_CLIPS: usize = 1000;

#[derive(Args, Debug)]
pub(super) struct ClipArguments {
    /// What to show and say; a built-in one if no prompt is given
    prompt: Option<String>,
    /// Read the prompt from a file, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "prompt", help_heading = CONTENT)]
    prompt_file: Option<PathBuf>,
    /// Make a clip of each line of a file that is not empty, - for standard input; clip.mp4 becomes clip-1.mp4,
    /// clip-2.mp4 and so on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_file"], help_heading = CONTENT)]
    prompts: Option<PathBuf>,
    /// Make this many clips of each prompt, with the seeds S, S+1 and so on; they are numbered as with --prompts
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = CONTENT)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=MAX_CLIPS as i64))]
    count: u16,
    /// Seed of all noise, 0 to 18446744073709551615; the same seed gives the same file [default: -1, random and reported]
    #[arg(long, value_parser = Seed::parse, allow_hyphen_values = true, help_heading = CONTENT)]
    seed: Option<Seed>,
}

impl ClipArguments {
    /// Whether there is a prompt.
    pub(super) fn has_prompt(&self) -> bool {
        self.prompt.is_some() || !self.files().is_empty()
    }

    /// The files that are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let both = [&self.prompt_file, &self.prompts];
        both.into_iter().flatten().cloned().collect()
    }

    /// Each clip's request and files, made from what all clips share; without a prompt `usual` is used.
    pub(super) fn clips(
        &self,
        (request, output): (Request, &Output),
        usual: &str,
        cancel: &Cancel,
    ) -> Result<Vec<(Request, Output)>> {
        let prompts = match (&self.prompt, &self.prompt_file, &self.prompts) {
            (Some(prompt), ..) => vec![prompt.clone()],
            (_, Some(path), _) => vec![read(path, cancel)?],
            (_, _, Some(path)) => lines(path, &read(path, cancel)?)?,
            (None, None, None) => vec![usual.into()],
        };
        let count = usize::from(self.count);
        if prompts.len() * count > MAX_CLIPS {
            let problem = format!("would make {} clips", prompts.len() * count);
            let expected = format!("of so many prompts {problem}; at most {MAX_CLIPS} in one run");
            return Err(Error::request(Field::Count, expected).found(count));
        }
        let is_numbered = self.prompts.is_some() || count > 1;
        if is_numbered && output.path.is_none() {
            let expected = "must be a file, after which several clips are named";
            return Err(Error::request(Field::Output, expected).found("-"));
        }
        let asked = self.seed.and_then(|seed| seed.0);
        let seed = asked.or_else(|| is_numbered.then(random_seed));
        let most = u64::MAX - u64::from(self.count - 1);
        if let Some(seed) = seed.filter(|seed| *seed > most) {
            let expected = format!("must be at most {most}, since so many seeds follow it");
            return Err(Error::request(Field::Seed, expected).found(seed));
        }
        let each = prompts.into_iter().flat_map(|prompt| {
            let seeds = 0..u64::from(self.count);
            seeds.map(move |nth| (prompt.clone(), seed.map(|seed| seed + nth)))
        });
        let clips = each.enumerate().map(|(at, (prompt, seed))| {
            let mut output = output.clone();
            if is_numbered {
                for path in [
                    &mut output.path,
                    &mut output.save_latents,
                    &mut output.sheet,
                ] {
                    *path = path.as_deref().map(|path| numbered(path, at + 1));
                }
            }
            let request = Request {
                prompt,
                seed,
                ..request.clone()
            };
            (request, output)
        });
        Ok(clips.collect())
    }
}

/// `clip.mp4` as `clip-3.mp4`. Two names that differ do so with any two numbers behind them.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// The prompts of a text, one a line.
fn lines(path: &Path, text: &str) -> Result<Vec<String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let prompts: Vec<String> = lines.map(Into::into).collect();
    if prompts.is_empty() {
        let name = path.display().to_string();
        return Err(Error::input(
            name,
            "must have a prompt in a line; found none",
        ));
    }
    Ok(prompts)
}

/// The text of a prompt file or, for `-`, of standard input, without the line ends that editors put behind it.
pub(super) fn read(path: &Path, cancel: &Cancel) -> Result<String> {
    let path = path.to_path_buf();
    // Whoever writes into a pipe or types may take any time.
    let text = cancel
        .watch(move || read_text(&path))?
        .replace("\r\n", "\n");
    Ok(text.trim_end_matches('\n').into())
}

fn read_text(path: &Path) -> Result<String> {
    /// Far more than any prompt; keeps a mistyped path from filling the memory.
    const MAX_BYTES: u64 = 16 << 20;
    if !is_input(path) && !is_pipe(path) {
        return GivenFile::Input.read_text(path, MAX_BYTES);
    }
    let (name, bytes) = match is_input(path) {
        true => {
            let name = Path::new("standard input");
            (
                name,
                GivenFile::Input.read_from(stdin().lock(), name, MAX_BYTES)?,
            )
        }
        false => {
            let pipe =
                File::open(path).map_err(|e| Error::input_io(path.display().to_string(), e))?;
            (path, GivenFile::Input.read_from(pipe, path, MAX_BYTES)?)
        }
    };
    error::text(bytes).map_err(|problem| GivenFile::Input.error(name, problem))
}

/// Whether `path` means standard input.
pub(super) fn is_input(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// Whether a shell's `<(command)` or a named pipe is at `path`.
fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// A seed; `None` for -1, by which other programs mean a random one.
#[derive(Clone, Copy, Debug)]
struct Seed(Option<u64>);

impl Seed {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "-1" {
            return Ok(Self(None));
        }
        let parsed = text.parse().map(|seed| Self(Some(seed)));
        parsed.map_err(|_| format!("must be 0 to {}, or -1 for a random one", u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_ending() {
        for (path, expected) in [
            ("clip.mp4", "clip-3.mp4"),
            ("a/b.c/clip", "a/b.c/clip-3"),
            ("a.b.mp4", "a.b-3.mp4"),
            ("clip-3.mp4", "clip-3-3.mp4"),
        ] {
            assert_eq!(numbered(Path::new(path), 3), Path::new(expected));
        }
    }

    #[test]
    fn lines_are_prompts_and_empty_ones_are_none() {
        let read = |text| lines(Path::new("f"), text);
        assert_eq!(read("a b\n\n  c\r\n \nd").unwrap(), ["a b", "c", "d"]);
        assert_eq!(read(" \n\n").unwrap_err().exit_code(), 3);
    }
}
