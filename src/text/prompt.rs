//! Checks of a prompt. A prompt is never changed: what cannot be used is refused, and what could be better becomes one
//! line of advice.
//!
//! The video model was trained on long prompts of a fixed form: one English paragraph of 150 to 200 words (who and
//! where, then the events in order, each spoken line quoted); if somebody speaks, a line `Dialogue:` and one line
//! per utterance, `<who, language>: "the words"`; a line `Background Sound:` and one line in angle brackets.
//! Spoken Chinese, Japanese and Korean has one space between all characters.

use std::fmt;

use crate::{Error, Result, error::Field};

/// Most rows of text features that the video model takes.
///
/// A longer prompt is encoded whole, so that all its tokens see each other, and then the *features* are cut. Cutting
/// the ids first would give other features.
pub const MAX_TOKENS: usize = 640;

/// Longest prompt that is encoded, tokens: the text encoder's range of positions. Attention grows with the square, so
/// a file given by mistake must not run for hours.
pub const MAX_ENCODED_TOKENS: usize = 8192;

/// Paragraphs with fewer words get advice.
const FEW_WORDS: usize = 100;

/// Default negative prompt for the base model's guidance.
///
/// The words are ours. A guided clip equals the reference's only with the reference's own text as negative prompt.
pub const NEGATIVE_PROMPT: &str = "\
low resolution, blurred picture, out of focus, compression blocks, banding, heavy noise, film scratches, \
overexposed, underexposed, washed-out colours, oversaturated, wrong white balance, flicker, changing brightness, \
ghost images, double contours, torn frames, frozen picture, stutter, jumping frames, shaking camera, sudden cuts, \
warped background, moving walls, objects that appear or vanish, text on screen, subtitles, captions, logo, \
watermark, border, split screen, cartoon, drawing, plastic skin, wax face, distorted face, melting features, \
asymmetric eyes, crossed eyes, deformed teeth, changing identity, extra fingers, fused fingers, missing hands, \
extra limbs, twisted joints, stiff body, empty stare, no blinking, no expression, exaggerated grimace, \
mouth that does not move with the words, lips out of sync, mouth moving in silence, \
muffled sound, distorted sound, clipping, crackle, clicks, hum, hiss, static, echo, metallic ringing, dropouts, \
sudden changes of volume, sound out of sync, loud music over speech, silence, robotic voice, monotone voice, \
flat delivery, mumbling, slurred words, wrong words, repeated words, skipped words, made-up language, \
wrong accent, unnatural pauses, rushed speech, dragging speech, several voices at once, changing voice";

/// Refuses a blank prompt.
///
/// # Errors
/// [`Error::Input`] if the prompt is empty or only white space.
pub fn check(prompt: &str) -> Result<()> {
    let found = match prompt {
        "" => "it is empty",
        blank if blank.trim().is_empty() => "it is only white space",
        _ => return Ok(()),
    };
    Err(Error::input(
        "prompt",
        format!("must say what to show; {found}; describe a person, a place and what happens"),
    ))
}

/// Advice on how a prompt could suit the model better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// The scene is described in few words.
    Short {
        /// Words that describe it.
        words: usize,
    },
    /// There is speech, but no `Dialogue:` part.
    NoDialogue,
    /// There is no `Background Sound:` part.
    NoBackgroundSound,
    /// Spoken Chinese, Japanese or Korean lacks spaces.
    UnspacedSpeech,
}

impl fmt::Display for Advice {
    /// What the prompt does that gets this advice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { words } => {
                let s = if *words == 1 { "" } else { "s" };
                write!(
                    f,
                    "describes the scene in {words} word{s} where this model wants one English paragraph of 150-200"
                )
            }
            Self::NoDialogue => {
                f.write_str("has speech but no `Dialogue:` part that repeats it line by line")
            }
            Self::NoBackgroundSound => f.write_str("has no `Background Sound:` part"),
            Self::UnspacedSpeech => f.write_str(
                "has spoken Chinese, Japanese or Korean without a space between all its characters",
            ),
        }
    }
}

/// Advice for this prompt; empty if nothing stands out.
pub fn advice(prompt: &str) -> Vec<Advice> {
    let has_line = |start: &str| prompt.lines().any(|l| l.trim_start().starts_with(start));
    let words = prompt
        .lines()
        .take_while(|l| !is_heading(l))
        .flat_map(str::split_whitespace)
        .count();
    let has_speech = prompt.contains(is_quote);
    let all = [
        (words < FEW_WORDS).then_some(Advice::Short { words }),
        (has_speech && !has_line(DIALOGUE)).then_some(Advice::NoDialogue),
        (!has_line(BACKGROUND_SOUND)).then_some(Advice::NoBackgroundSound),
        has_unspaced_cjk_speech(prompt).then_some(Advice::UnspacedSpeech),
    ];
    all.into_iter().flatten().collect()
}

/// Refuses a prompt of `tokens` ids that is too long to encode; `field` names the prompt.
///
/// # Errors
/// [`Error::Input`] with both numbers.
pub fn check_length(field: Field, tokens: usize) -> Result<()> {
    if tokens <= MAX_ENCODED_TOKENS {
        return Ok(());
    }
    let problem = format!(
        "must have at most {MAX_ENCODED_TOKENS} tokens, of which the first {MAX_TOKENS} count; found {tokens}"
    );
    Err(Error::input(field.name().replace('_', " "), problem))
}

const DIALOGUE: &str = "Dialogue:";
const BACKGROUND_SOUND: &str = "Background Sound:";

fn is_heading(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with(DIALOGUE) || line.starts_with(BACKGROUND_SOUND)
}

fn is_quote(char: char) -> bool {
    matches!(char, '"' | '\u{201c}' | '\u{201d}')
}

/// Whether two Chinese, Japanese or Korean characters are adjacent inside quotes.
fn has_unspaced_cjk_speech(prompt: &str) -> bool {
    let (mut in_quotes, mut after_cjk) = (false, false);
    for char in prompt.chars() {
        if is_quote(char) {
            in_quotes = match char {
                '\u{201c}' => true,
                '\u{201d}' => false,
                _ => !in_quotes,
            };
        }
        let cjk = in_quotes && is_cjk(char);
        if cjk && after_cjk {
            return true;
        }
        after_cjk = cjk;
    }
    false
}

/// Kana, Han characters and Hangul syllables.
fn is_cjk(char: char) -> bool {
    matches!(char,
        '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prompt of the recommended form with the given speech.
    fn complete(speech: &str) -> String {
        let body = "word ".repeat(160);
        format!(
            "{body}and she says, \"{speech}\" in a low voice.\n\nDialogue:\n<young woman, English>: \"{speech}\"\n\n\
             Background Sound:\n<No prominent background sound>"
        )
    }

    #[test]
    fn prompts_that_say_nothing_are_refused() {
        for blank in ["", " ", "\n\t \r\n", "\u{3000}"] {
            let e = check(blank).unwrap_err();
            assert_eq!(e.exit_code(), 3);
            assert!(
                e.to_string().starts_with("prompt: must say what to show"),
                "{e}"
            );
        }
        for prompt in ["a cat", "\0", "猫"] {
            check(prompt).unwrap();
        }
    }

    #[test]
    fn advice_names_what_is_missing_and_nothing_else() {
        assert_eq!(advice(&complete("Good morning.")), []);
        assert_eq!(advice(&complete("你 好 ， 世 界 。")), []);
        let short = Advice::Short { words: 2 };
        assert_eq!(advice("a cat"), [short, Advice::NoBackgroundSound]);
        assert!(short.to_string().contains("2 words"), "{short}");
        assert!(advice("she says \"hello\"").contains(&Advice::NoDialogue));
        for speech in ["你好", "こんにちは", "안녕 하세요"] {
            assert_eq!(advice(&complete(speech)), [Advice::UnspacedSpeech]);
        }
        // Characters outside quotes are not speech.
        assert_eq!(advice(&format!("北京 {}", complete("Hello."))), []);
    }

    #[test]
    fn endless_prompts_are_refused_with_both_numbers() {
        assert!(check_length(Field::Prompt, MAX_ENCODED_TOKENS).is_ok());
        let error = check_length(Field::Prompt, 300_000).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("300000") && error.to_string().contains("8192"));
    }

    #[test]
    fn the_negative_prompt_is_one_line_of_phrases() {
        assert!(NEGATIVE_PROMPT.is_ascii() && !NEGATIVE_PROMPT.contains('\n'));
        let phrases: Vec<&str> = NEGATIVE_PROMPT.split(", ").collect();
        assert!(phrases.len() > 50);
        assert!(
            phrases
                .iter()
                .all(|p| !p.is_empty() && p.trim() == *p && !p.contains("  "))
        );
    }
}
