//! Notices about a clip: numbers that differ from the request, inputs that are ignored, advice. They are data, which
//! each front end words itself.

use std::fmt;

use crate::{
    error::{Field, Hint, neutral, quoted},
    text::prompt::{Advice, MAX_TOKENS},
    weights::Component,
};

/// Something that the user should know.
#[derive(Clone, PartialEq, Debug)]
pub enum Notice {
    /// There was no prompt, so the front end's own is used.
    DefaultPrompt,
    /// The built-in miniature runs.
    Miniature,
    /// Words of the prompt that the miniature was not trained with.
    UnknownWords(Vec<String>),
    /// The clip differs in size or length from those that the miniature was trained with.
    BeyondTraining {
        /// Width and height of the clip, pixels.
        size: (usize, usize),
        /// Its length, seconds.
        seconds: f64,
        /// Width and height in training, pixels.
        trained_size: (usize, usize),
        /// Length in training, seconds.
        trained_seconds: f64,
    },
    /// An untrained component of the miniature is used.
    UntrainedPart {
        /// The component.
        part: Component,
        /// The parameter that requested it.
        field: Field,
    },
    /// The size differs from the request.
    SizeRounded {
        /// Requested width and height, pixels.
        asked: (usize, usize),
        /// Resulting width and height, pixels.
        made: (usize, usize),
    },
    /// The clip is shorter than requested: the longest possible.
    SecondsClamped {
        /// Requested length, seconds.
        asked: f64,
        /// Resulting length, seconds.
        made: f64,
    },
    /// No number of latent frames has the requested length.
    SecondsRounded {
        /// Requested length, seconds.
        asked: f64,
        /// Resulting length, seconds.
        made: f64,
    },
    /// The voice track is longer than the clip.
    VoiceCut {
        /// Its length, seconds.
        has: f64,
        /// Seconds of it that are used.
        used: f64,
    },
    /// The voice track is no longer than the requested clip and decides the length.
    VoiceDecides {
        /// Its length, seconds.
        has: f64,
        /// Requested length, seconds.
        asked: Option<f64>,
        /// Resulting length, seconds.
        made: f64,
    },
    /// A parameter that was given changes nothing.
    NoEffect {
        /// The parameter.
        field: Field,
        /// Why: another parameter, and its value if it has one.
        with: (Field, Option<&'static str>),
    },
    /// The picture is not opaque everywhere.
    AlphaDropped,
    /// A clip will take long on the CPU.
    LongRun {
        /// How long, seconds.
        seconds: f64,
        /// Threads that compute.
        threads: usize,
    },
    /// The network does not use a negative prompt.
    NegativePromptIgnored,
    /// How the prompt could suit the model better.
    PromptAdvice(Vec<Advice>),
    /// A prompt has more tokens than the model takes.
    PromptCut {
        /// Which prompt.
        field: Field,
        /// Its number of tokens.
        tokens: usize,
    },
}

impl Notice {
    /// A stable word for this kind of notice, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DefaultPrompt => "default_prompt",
            Self::Miniature => "miniature",
            Self::UnknownWords(_) => "unknown_words",
            Self::BeyondTraining { .. } => "beyond_training",
            Self::UntrainedPart { .. } => "untrained_part",
            Self::SizeRounded { .. } => "size_rounded",
            Self::SecondsClamped { .. } => "seconds_clamped",
            Self::SecondsRounded { .. } => "seconds_rounded",
            Self::VoiceCut { .. } => "voice_cut",
            Self::VoiceDecides { .. } => "voice_decides",
            Self::NoEffect { .. } => "no_effect",
            Self::AlphaDropped => "alpha_dropped",
            Self::LongRun { .. } => "long_run",
            Self::NegativePromptIgnored => "negative_prompt_ignored",
            Self::PromptAdvice(_) => "prompt_advice",
            Self::PromptCut { .. } => "prompt_cut",
        }
    }

    /// The remedy, if there is one besides the facts.
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Self::NegativePromptIgnored => Some(Hint::Set(Field::Variant, "base")),
            Self::Miniature => Some(Hint::Give(Field::Model)),
            Self::LongRun { .. } => Some(Hint::SMALLER_CLIP),
            _ => None,
        }
    }

    /// The notice in words; `name` is what the front end calls a field.
    pub fn facts(&self, name: fn(Field) -> String) -> String {
        match self {
            Self::DefaultPrompt => "no prompt was given; the built-in one is used".into(),
            Self::Miniature => {
                "the built-in miniature made this: it knows a few shapes that move".into()
            }
            Self::UnknownWords(words) => {
                let words = words.join(", ");
                format!("words that the miniature does not know: {words}")
            }
            Self::BeyondTraining {
                size: size @ (width, height),
                seconds,
                trained_size: trained_size @ (w, h),
                trained_seconds,
            } => {
                let size = (size != trained_size).then(|| format!("{width}x{height}"));
                let length = (seconds != trained_seconds).then(|| human_length(*seconds));
                let beyond: Vec<String> = size.into_iter().chain(length).collect();
                format!(
                    "the miniature was trained at {w}x{h} and {}, not at {}",
                    human_length(*trained_seconds),
                    beyond.join(" and ")
                )
            }
            Self::UntrainedPart { part, field } => format!(
                "the miniature's {} is untrained: with this {} the clip is noise",
                part.key(),
                name(*field)
            ),
            Self::SizeRounded {
                asked: (width, height),
                made: (w, h),
            } => format!("{width}x{height} is not a multiple of 32; the clip is {w}x{h}"),
            Self::SecondsClamped { asked, made } => format!(
                "{} are too long; the clip is {}",
                human_length(*asked),
                human_length(*made)
            ),
            Self::SecondsRounded { asked, made } => format!(
                "{} cannot be had; the clip is {}",
                human_length(*asked),
                human_length(*made)
            ),
            Self::VoiceCut { has, used } => {
                let has = human_length(*has);
                format!("the voice track has {has}; the clip has the first {used}")
            }
            Self::VoiceDecides { has, asked, made } => {
                let [has, made] = [has, made].map(|seconds| human_length(*seconds));
                let instead =
                    asked.map_or_else(String::new, |asked| format!(" instead of {asked}"));
                format!("the voice track of {has} decides the length: {made}{instead}")
            }
            Self::NoEffect { field, with } => no_effect(*field, *with, name),
            Self::AlphaDropped => "the picture has transparent pixels; they are shown in the colour that is stored for \
                 them, without a background"
                .into(),
            Self::LongRun { seconds, threads } => long_run(*seconds, *threads),
            Self::NegativePromptIgnored => {
                "the distilled variant has no guidance and ignores the negative prompt".into()
            }
            Self::PromptAdvice(advice) => {
                let advice: Vec<String> = advice.iter().map(ToString::to_string).collect();
                format!("the prompt {}", advice.join("; it "))
            }
            Self::PromptCut { field, tokens } => format!(
                "the {} has {tokens} tokens; the model uses the features of the first {MAX_TOKENS}",
                field.name().replace('_', " ")
            ),
        }
    }
}

fn no_effect(
    field: Field,
    (with, value): (Field, Option<&str>),
    name: fn(Field) -> String,
) -> String {
    let what = match field {
        Field::Prompt => "the prompt".into(),
        field => name(field),
    };
    let value = value.map_or_else(String::new, |value| format!(" {value}"));
    format!("{what} has no effect with {}{value}", name(with))
}

/// A time that is not known well: `80 seconds`, `40 minutes`.
fn long_run(seconds: f64, threads: usize) -> String {
    let units = [("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)];
    let time = match units.into_iter().find(|(_, size)| seconds >= 2.0 * size) {
        Some((unit, size)) => format!("{:.0} {unit}", seconds / size),
        None => format!("{:.0} seconds", 10.0 * (seconds / 10.0).ceil()),
    };
    let plural = if threads == 1 { "" } else { "s" };
    format!("a clip takes about {time} on this CPU ({threads} thread{plural})")
}

/// A length for people: `1 second`, `1.96 seconds`.
pub fn human_length(seconds: f64) -> String {
    let seconds = (1e3 * seconds).round() / 1e3;
    let unit = if seconds == 1.0 { "second" } else { "seconds" };
    format!("{seconds} {unit}")
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&neutral(self.facts(quoted), self.hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_have_the_numbers_and_the_way_out() {
        let cut = Notice::PromptCut {
            field: Field::NegativePrompt,
            tokens: 700,
        };
        let text = cut.to_string();
        assert!(text.starts_with("the negative prompt has 700"), "{text}");
        assert!(text.contains("640"), "{text}");
        let ignored = Notice::NegativePromptIgnored.to_string();
        assert!(ignored.ends_with("; set `variant` to base"), "{ignored}");
        for (seconds, told) in [
            (61.0, "70 seconds"),
            (120.0, "2 minutes"),
            (2400.0, "40 minutes"),
            (7200.0, "2 hours"),
            (4.8e5, "6 days"),
        ] {
            let threads = 2;
            let long = Notice::LongRun { seconds, threads }.to_string();
            let expected =
                format!("a clip takes about {told} on this CPU (2 threads); lower `size`");
            assert!(long.starts_with(&expected), "{long}");
        }
        let short =
            Notice::PromptAdvice(vec![Advice::Short { words: 2 }, Advice::NoBackgroundSound]);
        assert_eq!(
            short.to_string(),
            "the prompt describes the scene in 2 words where this model wants one English paragraph of 150-200; it \
             has no `Background Sound:` part"
        );
    }
}
