//! `gallop generate`: the main job.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use clap::{Arg, Args, ValueEnum, builder::UnknownArgumentValueParser};

use super::{
    clips::{CONTENT, ClipArguments, is_input, read},
    device::DeviceArguments,
    forecast::Forecast,
    plan::length,
    precision::PrecisionArgument,
    profile,
    progress::Bars,
    report::{self, Outcome},
    terminal,
};
use crate::{
    Error, Result,
    device::GemmChoice,
    error::Field,
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
  gallop generate \"A red ball bounces\" -o ball.mp4
  gallop generate --prompt-file scene.txt --size 540p
  gallop generate --prompts scenes.txt --count 2 --seed 7
  gallop generate --model DIR --size 1080p \"...\"
  gallop generate --model DIR --image first.png \"...\"
  gallop generate --model DIR --audio voice.wav \"...\"
  gallop generate --model DIR --precision fp8 \"...\"
  gallop generate --json > report.json

With --json a run of one clip prints one document, a run of several a line for each as soon as it is made.

Without --model the built-in miniature runs; `gallop help miniature` says what it can show.";

// The headings of the options in the help.
const MODEL: &str = "Model";
const DEVICE: &str = "Device";
const FILE: &str = "File and output";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP, args = options_elsewhere())]
pub(super) struct Arguments {
    #[command(flatten)]
    clips: ClipArguments,
    /// What to steer away from; only the base variant looks at it
    #[arg(long, value_name = "TEXT", help_heading = CONTENT)]
    negative_prompt: Option<String>,
    /// Read what to steer away from from a file, - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "negative_prompt", help_heading = CONTENT)]
    negative_prompt_file: Option<PathBuf>,
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
    /// Leave the sound out of the file
    #[arg(long, conflicts_with = "full_audio", help_heading = FILE)]
    no_audio: bool,
    /// Colour matrix: BT.709 with a tag, or the reference's BT.601 without, for readers such as OpenCV before 4.13 that
    /// ignore the tag [default: bt709]
    #[arg(long, value_enum, help_heading = FILE)]
    color: Option<Color>,
    /// Leave prompt, seed, model and gallop's version out of the clip's metadata
    #[arg(long, help_heading = FILE)]
    no_metadata: bool,
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

/// Options of other programs, hidden, for which the error names ours.
fn options_elsewhere() -> impl Iterator<Item = Arg> {
    let names = [
        ("aspect-ratio", "--size"),
        ("duration", "--seconds"),
        ("frames", "--seconds"),
        ("height", "--size"),
        ("length", "--seconds"),
        ("n-prompt", "--negative-prompt"),
        ("num-frames", "--seconds"),
        ("num-inference-steps", "--steps"),
        ("resolution", "--size"),
        ("width", "--size"),
    ];
    names.into_iter().map(|(name, ours)| {
        let parser = UnknownArgumentValueParser::suggest_arg(ours);
        Arg::new(name).long(name).hide(true).value_parser(parser)
    })
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EncoderChoice {
    Auto,
    Openh264,
    X264,
    None,
}

pub(super) fn run(arguments: Arguments, cancel: &Cancel) -> Result<()> {
    let mut start = Instant::now();
    let output = arguments.output()?;
    let model = match &arguments.model {
        Some(dir) => Model::open(dir)?,
        None => Model::miniature(),
    };
    let usual = match model.is_miniature() {
        true => miniature::PROMPT,
        false => DEFAULT_PROMPT,
    };
    let how = Reporting {
        json: arguments.json,
        is_quiet: arguments.quiet,
    };
    let (executor, mut trace) = arguments.device.open(!how.is_silent(), GemmChoice::Own)?;
    let executor = Arc::new(executor);
    let notices = arguments.notices(&*executor);
    let forecast = (executor.name() == "cpu").then(|| Forecast::new(arguments.model.clone()));
    let negative_prompt = arguments.negative_prompt(cancel)?;
    let (mut request, clips) = arguments.request();
    request.negative_prompt = negative_prompt;
    let clips = clips.clips((request, &output), usual, cancel)?;
    // What one clip needs stays for the next, as far as memory suffices.
    let keep = match clips.len() {
        1 => Keep::default(),
        _ => Keep::weights(u64::MAX),
    };
    let session = Session::new(executor.clone(), model, keep);
    session.check(&clips)?;
    let bars = Bars::new(how.is_silent(), forecast);
    for (at, (request, output)) in clips.iter().enumerate() {
        bars.next((at, clips.len()), output.path.as_deref());
        notices.iter().for_each(|notice| bars.notice(notice));
        let heard = executor
            .profile()
            .map(|profile| ProfiledProgress::new(&bars, profile));
        let heard: &dyn Progress = heard.as_ref().map_or(&bars, |heard| heard);
        let made = session
            .draft(request, output, heard, cancel)
            .and_then(|mut draft| {
                bars.finish();
                if at + 1 == clips.len() {
                    let trace = profile::write(&executor, trace.take())?;
                    trace.into_iter().for_each(|file| draft.add(file));
                }
                match output.path {
                    Some(_) => draft.publish(),
                    None => draft.publish_to(&mut io::stdout().lock(), "standard output"),
                }
            });
        bars.finish();
        let report = made.inspect_err(|_| bars.say_made((at, clips.len())))?;
        let outcome = Outcome {
            report: &report,
            notices: bars.notices(),
            estimate: bars.estimate(),
            seconds: start.elapsed().as_secs_f64(),
        };
        how.say(&outcome, (output, clips.len()))?;
        start = Instant::now();
    }
    bars.say_last();
    Ok(())
}

/// How clips are reported.
struct Reporting {
    json: bool,
    is_quiet: bool,
}

impl Reporting {
    fn is_silent(&self) -> bool {
        self.json || self.is_quiet
    }

    fn say(&self, outcome: &Outcome<'_>, (output, clips): (&Output, usize)) -> Result<()> {
        match (self.json, clips) {
            (true, 1) => return terminal::print_json(&report::json(outcome)),
            (true, _) => return terminal::print_json_line(&report::json(outcome)),
            (false, _) => {}
        }
        if !self.is_quiet {
            terminal::say(&report::table(outcome));
        }
        match output.path {
            Some(_) => terminal::print(&report::line(outcome)),
            None if self.is_quiet => Ok(()),
            None => {
                terminal::say(report::line(outcome).trim_end());
                Ok(())
            }
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
                is_silent: self.no_audio,
                color: self.color.unwrap_or(usual.color),
                ..usual
            },
            metadata: !self.no_metadata,
            content: false,
            save_latents: self.save_latents.clone(),
            sheet: self.sheet.clone(),
            thumbnail: None,
            preview: None,
            also_written: self.device.profile.iter().cloned().collect(),
            also_read: [
                self.clips.files(),
                self.negative_prompt_file.iter().cloned().collect(),
            ]
            .concat(),
        })
    }

    fn negative_prompt(&self, cancel: &Cancel) -> Result<Option<String>> {
        let Some(path) = &self.negative_prompt_file else {
            return Ok(self.negative_prompt.clone());
        };
        if is_input(path) && self.clips.files().iter().any(|path| is_input(path)) {
            let expected = "must be a file where the prompt is standard input";
            return Err(Error::request(Field::NegativePromptFile, expected).found(path.display()));
        }
        read(path, cancel).map(Some)
    }

    /// That there is no prompt, and the options that were given and change nothing, beside those of the request itself.
    fn notices(&self, executor: &dyn Executor) -> Vec<Notice> {
        let raw = matches!(self.encoder, EncoderChoice::None);
        let own = !matches!(self.encoder, EncoderChoice::X264);
        let encoder = (Field::Encoder, Some(if raw { "none" } else { "openh264" }));
        let (has_prompt, has_features) = (self.clips.has_prompt(), self.text_features.is_some());
        let features = (Field::TextFeatures, None);
        let given = [
            (Field::Prompt, has_prompt && has_features, features),
            (Field::Ffmpeg, own && self.ffmpeg.is_some(), encoder),
            (Field::Quality, raw && self.quality.is_some(), encoder),
            (Field::Color, raw && self.color.is_some(), encoder),
        ];
        let given = given.into_iter().filter(|(_, is_idle, _)| *is_idle);
        let idle = given.map(|(field, _, with)| Notice::NoEffect { field, with });
        let default = (!has_prompt && !has_features).then_some(Notice::DefaultPrompt);
        let of_device = self.device.without_effect(executor);
        default.into_iter().chain(idle).chain(of_device).collect()
    }

    /// What all clips share, and what decides which clips.
    fn request(self) -> (Request, ClipArguments) {
        let request = Request {
            size: self.size,
            scale: self.scale,
            seconds: self.seconds,
            image: self.image.map(Input::Path),
            audio: self.audio.map(Input::Path),
            hold_audio: self.hold_audio,
            variant: self.variant,
            steps: self.steps,
            text_features: self.text_features,
            softcap: self.softcap,
            decoder: self.decoder,
            formats: self.precision.formats,
            ..Request::default()
        };
        (request, self.clips)
    }
}
