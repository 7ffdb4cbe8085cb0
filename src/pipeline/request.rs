//! A request: every option once, with its limit; and the [`Job`] it is resolved to, with every number decided.
//!
//! A number that is not possible is replaced by the nearest possible one, and each replacement gives a notice with
//! both numbers; nothing changes silently. Values without a sensible replacement are errors.

use std::{fmt, path::PathBuf, str::FromStr};

use super::{formats::QuantizationPolicy, notice::Notice};
use crate::{
    Error, Result,
    error::{Field, Hint},
    plan::Grid,
};

pub use crate::media::Input;

/// Frames and audio tokens per second.
pub const FPS: usize = 25;

/// Longest clip that can be asked for, seconds.
pub const SECONDS_MAX: f64 = 10.0;
/// A longer one, seconds, is a mistake: milliseconds or frames.
const SECONDS_MEANT: f64 = 3600.0;

/// Largest width, pixels: the limit of the H.264 encoder.
pub const WIDTH_MAX: usize = 3840;
/// Largest height, pixels: see [`WIDTH_MAX`].
pub const HEIGHT_MAX: usize = 2160;

/// Largest area, pixels, for which the base pass alone is used: twice 448x256.
const BASE_AREA_MAX: usize = 2 * 448 * 256;

/// Largest area, pixels, for which the 540p network is used: half more than 896x512.
const SR_540P_AREA_MAX: usize = 896 * 512 * 3 / 2;

/// A size by name or in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// 448x256 by the base pass.
    P256,
    /// The base pass at 448x256, refined to 896x512.
    P540,
    /// The base pass at 448x256, refined to 1920x1088.
    P1080,
    /// Width and height, pixels.
    Exact(usize, usize),
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "256p" => return Ok(Self::P256),
            "540p" => return Ok(Self::P540),
            "1080p" => return Ok(Self::P1080),
            _ => {}
        }
        let problem = || format!("must be 256p, 540p, 1080p or WIDTHxHEIGHT; given `{text}`");
        let (width, height) = text.split_once(['x', 'X']).ok_or_else(problem)?;
        let number = |text: &str| text.parse().map_err(|_| problem());
        Ok(Self::Exact(number(width)?, number(height)?))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("256p"),
            Self::P540 => f.write_str("540p"),
            Self::P1080 => f.write_str("1080p"),
            Self::Exact(width, height) => write!(f, "{width}x{height}"),
        }
    }
}

/// Network of the base pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BaseVariant {
    /// 32 steps with guidance by a negative prompt.
    Base,
    /// 8 steps without guidance.
    #[default]
    Distill,
}

/// Network of the super-resolution pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SrVariant {
    /// Trained for 896x512.
    Sr540p,
    /// Trained for 1920x1088, with local attention.
    Sr1080p,
}

/// Network that decodes video latents to frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VideoDecoder {
    /// The fast one.
    #[default]
    Turbo,
    /// The original autoencoder's: slow, full quality.
    Wan,
}

/// A request; `None` leaves the choice to the model.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Content of the clip: picture and speech.
    pub prompt: String,
    /// What the clip should avoid; only the base variant uses it.
    pub negative_prompt: Option<String>,
    /// Size of the clip.
    pub size: Option<Size>,
    /// Factor by which decoded frames are enlarged in the file, in both directions.
    pub scale: Option<usize>,
    /// Length, seconds.
    pub seconds: Option<f64>,
    /// Seed of all noise.
    pub seed: Option<u64>,
    /// Picture of the first frame.
    pub image: Option<Input>,
    /// Voice track that drives the clip.
    pub audio: Option<Input>,
    /// Keep the voice track's latent as it is also where the reference would re-noise it.
    pub hold_audio: bool,
    /// Network of the base pass.
    pub variant: BaseVariant,
    /// Steps of the base pass.
    pub steps: Option<usize>,
    /// Precomputed text features, a safetensors file, in place of the text encoder.
    pub text_features: Option<PathBuf>,
    /// Apply the text encoder's soft-cap on attention logits, which the reference leaves out.
    pub softcap: bool,
    /// Network that decodes frames.
    pub decoder: VideoDecoder,
    /// Formats of the denoising networks' linear layers.
    pub formats: QuantizationPolicy,
}

/// A model's defaults for requests.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Size of the clip.
    pub size: Size,
    /// Factor by which decoded frames are enlarged in the file.
    pub scale: usize,
    /// Length, seconds.
    pub seconds: u32,
}

impl Defaults {
    /// Those of a model folder.
    pub const FOLDER: Self = Self {
        size: Size::P256,
        scale: 1,
        seconds: 5,
    };
}

/// A request with every number decided.
#[derive(Clone, Debug)]
pub struct Job {
    /// Latent grid of the base pass.
    pub base: Grid,
    /// Network and latent grid of the super-resolution pass, if there is one.
    pub sr: Option<(SrVariant, Grid)>,
    /// Factor by which decoded frames are enlarged in the file.
    pub scale: usize,
    /// Audio tokens, 25 per second.
    pub audio_tokens: usize,
    /// Seed of all noise.
    pub seed: u64,
    /// Differences from the request.
    pub notices: Vec<Notice>,
}

impl Job {
    /// Latent grid of the finished clip.
    pub fn grid(&self) -> Grid {
        self.sr.map_or(self.base, |(_, grid)| grid)
    }

    /// Frames of the finished clip: `4 T - 3` for T latent frames.
    pub fn frames(&self) -> usize {
        4 * self.base.frames - 3
    }

    /// Length of the finished clip, seconds.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / FPS as f64
    }

    /// Width and height of decoded frames, pixels.
    pub fn pixels(&self) -> (usize, usize) {
        pixels(self.grid())
    }

    /// Width and height of frames in the file, pixels.
    pub fn shown(&self) -> (usize, usize) {
        let (width, height) = self.pixels();
        (self.scale * width, self.scale * height)
    }
}

/// Width and height, pixels, of the frames decoded from a latent grid.
pub fn pixels(grid: Grid) -> (usize, usize) {
    (16 * grid.width, 16 * grid.height)
}

/// Decides every number of `request`. `voice_tokens` is the length of the voice track in audio tokens (25 per second).
///
/// # Errors
/// [`Error::Request`] for sizes and lengths that are impossible.
pub fn resolve(request: &Request, defaults: Defaults, voice_tokens: Option<usize>) -> Result<Job> {
    let mut notices = Vec::new();
    let asked = request.seconds.map(check_seconds).transpose()?;
    let audio_tokens = match voice_tokens {
        Some(tokens) => tokens.min(steps(asked.unwrap_or(SECONDS_MAX))),
        None => steps(asked.unwrap_or(defaults.seconds.into())) + 1,
    };
    let frames = (audio_tokens - 1) / 4 + 1;
    notices.extend(length_notices(asked, voice_tokens, frames));
    let (base, sr) = resolve_size(request.size.unwrap_or(defaults.size), &mut notices)?;
    let grid = |(width, height): (usize, usize)| Grid {
        frames,
        height: height / 16,
        width: width / 16,
    };
    if let Some(steps) = request.steps.filter(|steps| !(1..=1000).contains(steps)) {
        return Err(Error::request(Field::Steps, "must be 1 to 1000").found(steps));
    }
    notices.extend(without_effect(request));
    if request.hold_audio && request.audio.is_none() {
        let error = Error::request(Field::HoldAudio, "needs a voice track");
        return Err(error.with_hint(Hint::Give(Field::Audio)));
    }
    let (width, height) = sr.map_or(base, |(_, size)| size);
    let usual = request.size.map_or(defaults.scale, |_| 1);
    let scale = request.scale.unwrap_or(usual);
    let most = (WIDTH_MAX / width).min(HEIGHT_MAX / height);
    if !(1..=most).contains(&scale) {
        let expected = format!("must be 1 to {most} for a clip of {width}x{height}");
        return Err(Error::request(Field::Scale, expected).found(scale));
    }
    let seed = request.seed.unwrap_or_else(random_seed);
    Ok(Job {
        base: grid(base),
        sr: sr.map(|(variant, size)| (variant, grid(size))),
        scale,
        audio_tokens,
        seed,
        notices,
    })
}

/// The longest that the clip of `request` can be, seconds: so much of a voice track is read.
///
/// # Errors
/// [`Error::Request`] for a length that is impossible.
pub fn seconds_most(request: &Request) -> Result<f64> {
    let asked = request.seconds.map(check_seconds).transpose()?;
    Ok(asked.unwrap_or(SECONDS_MAX).min(SECONDS_MAX))
}

fn check_seconds(asked: f64) -> Result<f64> {
    if !(1.0 / FPS as f64..=SECONDS_MEANT).contains(&asked) {
        let expected = format!("must be {} to {SECONDS_MAX}", 1.0 / FPS as f64);
        return Err(Error::request(Field::Seconds, expected).found(asked));
    }
    Ok(asked)
}

/// Whole frames in so many seconds, at most those of the longest clip.
fn steps(seconds: f64) -> usize {
    // 1.16 is stored as a little less than 29 frames.
    (seconds.min(SECONDS_MAX) * FPS as f64 + 1e-6) as usize
}

/// How a clip of so many latent frames differs in length from what was asked and from its voice track.
fn length_notices(
    asked: Option<f64>,
    voice_tokens: Option<usize>,
    latent_frames: usize,
) -> Vec<Notice> {
    let made = (4 * latent_frames - 3) as f64 / FPS as f64;
    let differs = |seconds: f64| (seconds - made).abs() > 1e-6;
    let most = steps(asked.unwrap_or(SECONDS_MAX));
    let has = voice_tokens.map(|tokens| (tokens > most, tokens as f64 / FPS as f64));
    if let Some((false, has)) = has {
        let decides = differs(asked.unwrap_or(has));
        let notice = Notice::VoiceDecides { has, asked, made };
        return decides.then_some(notice).into_iter().collect();
    }
    let of_voice = has.map(|(_, has)| Notice::VoiceCut { has, used: made });
    let of_asked = asked.filter(|&asked| differs(asked)).map(|asked| {
        if asked > SECONDS_MAX {
            Notice::SecondsClamped { asked, made }
        } else {
            Notice::SecondsRounded { asked, made }
        }
    });
    of_asked.into_iter().chain(of_voice).collect()
}

/// What was given and changes nothing.
fn without_effect(request: &Request) -> impl Iterator<Item = Notice> {
    let features = request.text_features.as_ref();
    let features = features.map(|_| (Field::TextFeatures, None));
    let is_base = request.variant == BaseVariant::Base;
    let base = is_base.then_some((Field::Variant, Some("base")));
    let has_negative = request.negative_prompt.is_some();
    let fields = [
        (Field::NegativePrompt, has_negative && is_base, features),
        (Field::Softcap, request.softcap, features),
        (Field::HoldAudio, request.hold_audio, base),
    ];
    let ignored = (has_negative && !is_base).then_some(Notice::NegativePromptIgnored);
    let idle = fields
        .into_iter()
        .filter(|(_, is_given, _)| *is_given)
        .filter_map(|(field, _, with)| Some(Notice::NoEffect { field, with: with? }));
    ignored.into_iter().chain(idle)
}

/// Base size and super-resolution, both in pixels, multiples of 32.
type Sizes = ((usize, usize), Option<(SrVariant, (usize, usize))>);

fn resolve_size(size: Size, notices: &mut Vec<Notice>) -> Result<Sizes> {
    let (width, height) = match size {
        Size::P256 => return Ok(((448, 256), None)),
        Size::P540 => return Ok(((448, 256), Some((SrVariant::Sr540p, (896, 512))))),
        Size::P1080 => return Ok(((448, 256), Some((SrVariant::Sr1080p, (1920, 1088))))),
        Size::Exact(width, height) => (width, height),
    };
    if !(32..=WIDTH_MAX).contains(&width) || !(32..=HEIGHT_MAX).contains(&height) {
        let expected = format!("must be 32x32 to {WIDTH_MAX}x{HEIGHT_MAX}");
        return Err(Error::request(Field::Size, expected).found(format!("{width}x{height}")));
    }
    let on_grid = (width / 32 * 32, height / 32 * 32);
    if on_grid != (width, height) {
        notices.push(Notice::SizeRounded {
            asked: (width, height),
            made: on_grid,
        });
    }
    let area = on_grid.0 * on_grid.1;
    if area <= BASE_AREA_MAX {
        return Ok((on_grid, None));
    }
    let shrink = (448.0 * 256.0 / area as f64).sqrt();
    let side = |n: usize| ((n as f64 * shrink / 32.0).round() as usize).max(1) * 32;
    let variant = if area <= SR_540P_AREA_MAX {
        SrVariant::Sr540p
    } else {
        SrVariant::Sr1080p
    };
    Ok(((side(on_grid.0), side(on_grid.1)), Some((variant, on_grid))))
}

/// Random seed below 2^53, so that JSON readers with doubles only keep it exact.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults {
        size: Size::P256,
        scale: 1,
        seconds: 5,
    };

    fn job(request: &Request) -> Job {
        resolve(request, DEFAULTS, None).unwrap()
    }

    #[test]
    fn the_published_presets_have_their_grids() {
        let p1080 = job(&Request {
            size: Some(Size::P1080),
            ..Request::default()
        });
        assert_eq!(
            p1080.base,
            Grid {
                frames: 32,
                height: 16,
                width: 28
            }
        );
        assert_eq!(
            p1080.sr,
            Some((
                SrVariant::Sr1080p,
                Grid {
                    frames: 32,
                    height: 68,
                    width: 120
                }
            ))
        );
        assert_eq!(
            (p1080.audio_tokens, p1080.frames(), p1080.pixels()),
            (126, 125, (1920, 1088))
        );
        assert!(p1080.notices.is_empty());
    }

    #[test]
    fn replaced_numbers_are_reported() {
        let job = job(&Request {
            size: Some(Size::Exact(480, 272)),
            seconds: Some(30.0),
            ..Request::default()
        });
        assert_eq!((job.pixels(), job.audio_tokens), ((480, 256), 251));
        let rounded = Notice::SizeRounded {
            asked: (480, 272),
            made: (480, 256),
        };
        assert_eq!(
            job.notices,
            [
                Notice::SecondsClamped {
                    asked: 30.0,
                    made: 9.96
                },
                rounded.clone()
            ]
        );
        let text = rounded.to_string();
        assert!(
            text.contains("480x272") && text.contains("480x256"),
            "{text}"
        );
    }

    #[test]
    fn a_voice_track_decides_the_length() {
        let request = Request {
            seconds: Some(4.0),
            ..Request::default()
        };
        let job = resolve(&request, DEFAULTS, Some(100)).unwrap();
        assert_eq!(
            (job.audio_tokens, job.base.frames, job.frames()),
            (100, 25, 97)
        );
        let long = resolve(&Request::default(), DEFAULTS, Some(700)).unwrap();
        assert_eq!((long.audio_tokens, long.notices.len()), (250, 1));
    }

    #[test]
    fn every_length_that_cannot_be_had_is_said_with_both_numbers() {
        let notices = |seconds: Option<f64>, voice: Option<usize>| {
            let request = Request {
                seconds,
                ..Request::default()
            };
            let job = resolve(&request, DEFAULTS, voice).unwrap();
            let words = job.notices.iter().map(ToString::to_string);
            (job.frames(), words.collect::<Vec<_>>().join("; "))
        };
        for (asked, frames, told) in [
            (0.04, 1, ""),
            (1.0, 25, ""),
            (1.16, 29, ""),
            (1.48, 37, ""),
            (
                1.5,
                37,
                "1.5 seconds cannot be had; the clip is 1.48 seconds",
            ),
            (2.0, 49, "2 seconds cannot be had; the clip is 1.96 seconds"),
            (3.0, 73, "3 seconds cannot be had; the clip is 2.92 seconds"),
            (
                4.0,
                101,
                "4 seconds cannot be had; the clip is 4.04 seconds",
            ),
            (5.0, 125, ""),
            (9.0, 225, ""),
            (
                10.0,
                249,
                "10 seconds cannot be had; the clip is 9.96 seconds",
            ),
            (
                11.0,
                249,
                "11 seconds are too long; the clip is 9.96 seconds",
            ),
        ] {
            assert_eq!(notices(Some(asked), None), (frames, told.into()), "{asked}");
        }
        // What was not asked for is no surprise, unless a voice track has another length.
        let told = |asked, tokens| notices(asked, Some(tokens)).1;
        assert_eq!(told(None, 25), "");
        let alone = "the voice track of 1.2 seconds decides the length: 1.16 seconds";
        assert_eq!(told(None, 30), alone);
        assert_eq!(told(Some(2.0), 30), format!("{alone} instead of 2"));
        assert_eq!(told(Some(1.16), 29), "");
        let cut = "the voice track has 4 seconds; the clip has the first";
        assert_eq!(told(Some(1.0), 100), format!("{cut} 1"));
        let both = format!("3 seconds cannot be had; the clip is 2.92 seconds; {cut} 2.92");
        assert_eq!(told(Some(3.0), 100), both);
        for asked in [f64::NAN, f64::INFINITY, -1.0, 0.0, 0.03, 3600.5, 1e9] {
            let request = Request {
                seconds: Some(asked),
                ..Request::default()
            };
            assert!(seconds_most(&request).is_err());
            let error = resolve(&request, DEFAULTS, None).unwrap_err();
            assert!(error.to_string().contains("0.04 to 10"), "{error}");
        }
    }

    #[test]
    fn what_changes_nothing_is_said() {
        let notices = |request: Request| {
            let job = resolve(&request, DEFAULTS, None).unwrap();
            let words = job.notices.iter().map(ToString::to_string);
            words.collect::<Vec<_>>()
        };
        let ready = Request {
            text_features: Some("f".into()),
            negative_prompt: Some("x".into()),
            softcap: true,
            variant: BaseVariant::Base,
            ..Request::default()
        };
        let with = "has no effect with `text_features`";
        let told = ["negative_prompt", "softcap"].map(|name| format!("`{name}` {with}"));
        assert_eq!(notices(ready.clone()), told);
        let held = Request {
            text_features: None,
            hold_audio: true,
            audio: Some(Input::Path("a".into())),
            ..ready
        };
        let told = ["`hold_audio` has no effect with `variant` base"];
        assert_eq!(notices(held), told);
    }

    #[test]
    fn sizes_beyond_the_limits_are_refused() {
        for size in [(31, 256), (256, 0), (4000, 256), (usize::MAX, usize::MAX)] {
            let request = Request {
                size: Some(Size::Exact(size.0, size.1)),
                ..Request::default()
            };
            assert_eq!(
                resolve(&request, DEFAULTS, None).unwrap_err().exit_code(),
                2
            );
        }
        assert!("12x".parse::<Size>().is_err() && "480p".parse::<Size>().is_err());
        assert_eq!("640x384".parse(), Ok(Size::Exact(640, 384)));
    }
}
