//! `gallop generate`: the main job.

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::{Args, ValueEnum};

use super::{
    device::DeviceArguments, plan::length, precision::PrecisionArgument, profile, progress::Bars,
    report, terminal,
};
use crate::{
    Error, Result,
    device::GemmChoice,
    error::{self, Field, GivenFile},
    executor::{Cancel, Executor},
    pipeline::{
        Color, EncodeOptions, Encoder, Keep, Model, Notice, Output, Progress, Session, miniature,
        profile::ProfiledProgress,
        request::{BaseVariant, Input, Request, Size, VideoDecoder},
    },
};

/// What is made when nothing is asked, in the form that the model was trained on.
const DEFAULT_PROMPT: &str = "\
A red ball of rubber, the size of a fist, lies in the hand of a woman in a grey sweater who sits at a plain wooden \
table in a quiet, bright room. Her face is calm, her brow smooth, her lips closed. She looks at the ball, her eyelids \
lower slightly, and a faint smile draws the corners of her mouth outwards. She lets the ball fall; it hits the table \
with a dull knock, rises, and hits it again and again, each time lower and sooner, until it rolls a hand's breadth and \
lies still. Her head follows it with small, slow movements. Then she looks up into the camera, her lips part, the jaw \
drops a little, and she says \"That was all of it.\" in an even, friendly tone, at a medium pace, with a low pitch and \
a soft volume. Her lips close and the smile remains. The camera is static, at the height of her eyes; the light comes \
evenly from the left, and nothing in the background moves.

Dialogue:
<Calm woman in grey sweater, English>: \"That was all of it.\"

Background Sound:
<A rubber ball bouncing on wood>";

const AFTER_HELP: &str = "\
Examples:
  gallop generate \"A red ball bounces on a wooden floor\" -o ball.mp4
  gallop generate --prompt-file scene.txt --size 540p --seconds 4 --seed 7
  gallop generate --model /models/gallop --size 1080p --image first.png \"...\" -o out.mp4
  gallop generate --model /models/gallop --audio voice.wav --variant base \"...\"
  gallop generate --model /models/gallop --precision fp8,layers.0-3=bf16 \"...\"
  gallop generate --json --quiet > report.json

Without --model the built-in miniature runs; `gallop help miniature` says what it can show.";

// The headings of the options in the help.
const CONTENT: &str = "What to make";
const MODEL: &str = "Model";
const DEVICE: &str = "Device";
const FILE: &str = "File and output";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// What to show and say; a built-in one if neither this nor --prompt-file is given
    prompt: Option<String>,
    /// Read the prompt from a file, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "prompt", help_heading = CONTENT)]
    prompt_file: Option<PathBuf>,
    /// What to steer away from; only the base variant looks at it
    #[arg(long, value_name = "TEXT", help_heading = CONTENT)]
    negative_prompt: Option<String>,
    /// Folder with the model's files [default: the built-in miniature]
    #[arg(long, value_name = "DIR", env = "GALLOP_MODEL", help_heading = MODEL)]
    model: Option<PathBuf>,
    /// 256p, 540p, 1080p or WIDTHxHEIGHT [default: the model's]
    #[arg(long, value_parser = str::parse::<Size>, help_heading = CONTENT)]
    size: Option<Size>,
    /// Enlarge the finished frames this many times in both directions [default: 4 if the miniature decides the size, else
    /// 1]
    #[arg(long, value_name = "TIMES", help_heading = CONTENT)]
    scale: Option<usize>,
    /// Length of the clip, up to 10; a clip has 4 n + 1 frames at 25 per second [default: the model's]
    #[arg(long, value_parser = length, allow_hyphen_values = true, help_heading = CONTENT)]
    seconds: Option<f64>,
    /// Seed of all noise, 0 to 18446744073709551615; the same seed gives the same file [default: -1, random and reported]
    #[arg(long, value_parser = Seed::parse, allow_hyphen_values = true, help_heading = CONTENT)]
    seed: Option<Seed>,
    /// Picture of the first frame: png, jpeg, webp
    #[arg(long, value_name = "FILE", help_heading = CONTENT)]
    image: Option<PathBuf>,
    /// Voice track that drives the clip: wav, aiff, caf, mp3, aac, m4a, flac, ogg
    #[arg(long, value_name = "FILE", help_heading = CONTENT)]
    audio: Option<PathBuf>,
    /// Keep the voice track as it is where the reference would change it
    #[arg(long, requires = "audio", help_heading = CONTENT)]
    hold_audio: bool,
    /// Network of the base pass
    #[arg(long, value_enum, default_value_t = BaseVariant::Distill, help_heading = MODEL)]
    variant: BaseVariant,
    /// Steps of the base pass [default: the variant's]
    #[arg(long, help_heading = MODEL)]
    steps: Option<usize>,
    /// Ready text features instead of the text encoder: a safetensors file
    #[arg(long, value_name = "FILE", help_heading = MODEL)]
    text_features: Option<PathBuf>,
    /// Apply the text encoder's soft-cap, which the reference leaves off
    #[arg(long, help_heading = MODEL)]
    softcap: bool,
    /// Network that makes the frames: the fast one, or the original at full quality
    #[arg(long, value_enum, default_value_t = VideoDecoder::Turbo, help_heading = MODEL)]
    decoder: VideoDecoder,
    #[command(flatten, next_help_heading = MODEL)]
    precision: PrecisionArgument,
    #[command(flatten, next_help_heading = DEVICE)]
    device: DeviceArguments,
    /// Where to write the clip, an MP4; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "out.mp4", help_heading = FILE)]
    output: PathBuf,
    /// Who encodes: auto and openh264 run inside this program, x264 needs ffmpeg, none writes raw frames and a WAV
    #[arg(long, value_enum, default_value_t = EncoderChoice::Auto, help_heading = FILE)]
    encoder: EncoderChoice,
    /// The ffmpeg program for --encoder x264 [default: ffmpeg]
    #[arg(long, value_name = "PROGRAM", help_heading = FILE)]
    ffmpeg: Option<PathBuf>,
    /// Quality of the encoded picture, 0 (draft) to 10 (archive) [default: 6]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=10), help_heading = FILE)]
    quality: Option<u8>,
    /// Keep sound that is longer than the picture, as the reference does
    #[arg(long, help_heading = FILE)]
    full_audio: bool,
    /// Colour matrix: BT.709 with a tag, or the reference's BT.601 without [default: bt709]
    #[arg(long, value_enum, help_heading = FILE)]
    color: Option<Color>,
    /// Save the final latents as safetensors
    #[arg(long, value_name = "FILE", help_heading = FILE)]
    save_latents: Option<PathBuf>,
    /// Draw eight frames and the waveform under them into this PNG
    #[arg(long, value_name = "FILE", help_heading = FILE)]
    sheet: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long, help_heading = FILE)]
    json: bool,
    /// Print nothing but the result and errors
    #[arg(short, long, help_heading = FILE)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncoderChoice {
    Auto,
    Openh264,
    X264,
    None,
}

pub(super) fn run(arguments: Arguments, cancel: &Cancel) -> Result<()> {
    let start = Instant::now();
    let output = arguments.output()?;
    let model = match &arguments.model {
        Some(dir) => Model::open(dir)?,
        None => Model::miniature(),
    };
    let (json, is_quiet) = (arguments.json, arguments.quiet);
    let is_silent = is_quiet || json;
    let (executor, trace) = arguments.device.open(!is_silent, GemmChoice::Own)?;
    let executor = Arc::new(executor);
    let session = Session::new(executor.clone(), model, Keep::default());
    let is_default_prompt = arguments.prompt.is_none() && arguments.prompt_file.is_none();
    let idle = arguments.without_effect(&*executor);
    let request = arguments.request()?;
    let bars = Bars::new(is_silent);
    if is_default_prompt && request.text_features.is_none() {
        bars.notice(&Notice::DefaultPrompt);
    }
    idle.iter().for_each(|notice| bars.notice(notice));
    let heard = executor
        .profile()
        .map(|profile| ProfiledProgress::new(&bars, profile));
    let heard: &dyn Progress = heard.as_ref().map_or(&bars, |heard| heard);
    let draft = session.draft(&request, &output, heard, cancel);
    bars.finish();
    let mut draft = draft?;
    profile::write(&executor, trace)?
        .into_iter()
        .for_each(|file| draft.add(file));
    let made = match output.path {
        Some(_) => draft.publish()?,
        None => draft.publish_to(&mut io::stdout().lock(), "standard output")?,
    };
    let outcome = report::Outcome {
        report: &made,
        notices: bars.notices(),
        seconds: start.elapsed().as_secs_f64(),
    };
    if json {
        return terminal::print_json(&report::json(&outcome));
    }
    if !is_quiet {
        terminal::say(&report::table(&outcome));
        bars.say_last();
    }
    match output.path {
        Some(_) => terminal::print(&report::line(&outcome)),
        None if is_quiet => Ok(()),
        None => {
            terminal::say(report::line(&outcome).trim_end());
            Ok(())
        }
    }
}

impl Arguments {
    fn output(&self) -> Result<Output> {
        let is_handed_over = self.output.as_os_str() == "-";
        let refused = |expected: &str| Err(Error::request(Field::Output, expected).found("-"));
        if is_handed_over && self.json {
            return refused("must be a file with --json, whose report goes to standard output");
        }
        if is_handed_over && io::stdout().is_terminal() {
            return refused("must be a file while standard output is a terminal");
        }
        let encoder = match self.encoder {
            EncoderChoice::Auto | EncoderChoice::Openh264 => Encoder::Embedded,
            EncoderChoice::X264 => Encoder::X264 {
                ffmpeg: self.ffmpeg.clone().unwrap_or_else(|| "ffmpeg".into()),
            },
            EncoderChoice::None => Encoder::Raw,
        };
        let usual = EncodeOptions::default();
        Ok(Output {
            path: (!is_handed_over).then(|| self.output.clone()),
            force: self.device.force,
            encode: EncodeOptions {
                encoder,
                quality: self.quality.unwrap_or(usual.quality),
                full_audio: self.full_audio,
                color: self.color.unwrap_or(usual.color),
            },
            save_latents: self.save_latents.clone(),
            sheet: self.sheet.clone(),
            also_written: self.device.profile.iter().cloned().collect(),
            also_read: self.prompt_file.iter().cloned().collect(),
        })
    }

    /// The options that were given and change nothing, beside those of the request itself.
    fn without_effect(&self, executor: &dyn Executor) -> Vec<Notice> {
        let raw = matches!(self.encoder, EncoderChoice::None);
        let own = !matches!(self.encoder, EncoderChoice::X264);
        let encoder = (Field::Encoder, Some(if raw { "none" } else { "openh264" }));
        let has_prompt = self.prompt.is_some() || self.prompt_file.is_some();
        let has_features = self.text_features.is_some();
        let given = [
            (
                Field::Prompt,
                has_prompt && has_features,
                (Field::TextFeatures, None),
            ),
            (Field::Ffmpeg, own && self.ffmpeg.is_some(), encoder),
            (Field::Quality, raw && self.quality.is_some(), encoder),
            (Field::Color, raw && self.color.is_some(), encoder),
        ];
        let given = given.into_iter().filter(|(_, is_idle, _)| *is_idle);
        let own = given.map(|(field, _, with)| Notice::NoEffect { field, with });
        own.chain(self.device.without_effect(executor)).collect()
    }

    fn request(self) -> Result<Request> {
        let prompt = match (self.prompt, &self.prompt_file) {
            (Some(prompt), _) => prompt,
            (None, Some(path)) => read_prompt(path)?,
            (None, None) if self.model.is_none() => miniature::PROMPT.into(),
            (None, None) => DEFAULT_PROMPT.into(),
        };
        Ok(Request {
            prompt,
            negative_prompt: self.negative_prompt,
            size: self.size,
            scale: self.scale,
            seconds: self.seconds,
            seed: self.seed.and_then(|seed| seed.0),
            image: self.image.map(Input::Path),
            audio: self.audio.map(Input::Path),
            hold_audio: self.hold_audio,
            variant: self.variant,
            steps: self.steps,
            text_features: self.text_features,
            softcap: self.softcap,
            decoder: self.decoder,
            formats: self.precision.formats,
        })
    }
}

/// The text of a prompt file or, for `-`, of standard input, without the line ends that editors put behind it.
fn read_prompt(path: &Path) -> Result<String> {
    /// Far more than any prompt; keeps a mistyped path from filling the memory.
    const MAX_BYTES: u64 = 16 << 20;
    let text = if path == Path::new("-") || path == Path::new("/dev/stdin") {
        let name = "standard input";
        let mut bytes = Vec::new();
        let mut input = std::io::stdin().lock().take(MAX_BYTES + 1);
        let read = input.read_to_end(&mut bytes);
        read.map_err(|e| Error::input_io(name, e))?;
        if bytes.len() as u64 > MAX_BYTES {
            let problem = format!("must be a prompt of at most {MAX_BYTES} bytes; found more");
            return Err(Error::input(name, problem));
        }
        error::text(bytes).map_err(|problem| Error::input(name, problem))?
    } else {
        GivenFile::Input.read_text(path, MAX_BYTES)?
    };
    let text = text.replace("\r\n", "\n");
    Ok(text.trim_end_matches('\n').into())
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
