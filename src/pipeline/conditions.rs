//! What steers a clip: features of the prompt and of the negative prompt, from the encoder or from a file.

use std::path::Path;

use super::{
    Context, Model, Notice, Progress, Stage, request::BaseVariant, request::Request,
    text::encode_prompt,
};
use crate::{
    DType, Error, Result, Tensor,
    error::Field,
    media::{VOICE_RATE, Voice},
    text::prompt,
    weights::{Safetensors, Source},
};

/// Samples of a voice track per audio token.
const HOP: usize = VOICE_RATE as usize / super::request::FPS;

/// Name of the features in a features file.
pub const FEATURES: &str = "features";

/// Name of the negative prompt's features in a features file.
pub const NEGATIVE_FEATURES: &str = "negative_features";

/// Text features `[tokens, width]` f32.
pub struct Conditioning {
    /// Of the prompt.
    pub positive: Tensor,
    /// Of the negative prompt, for the base variant.
    pub negative: Option<Tensor>,
}

impl Conditioning {
    /// The features a pass is given.
    ///
    /// # Errors
    /// [`Error::Request`] if it is guided and there are no negative features.
    pub fn features(&self, is_guided: bool) -> Result<Vec<Tensor>> {
        let positive = self.positive.clone();
        match (&self.negative, is_guided) {
            (_, false) => Ok(vec![positive]),
            (Some(negative), true) => Ok(vec![positive, negative.clone()]),
            (None, true) => Err(Error::request(
                Field::Variant,
                "base needs features of a negative prompt",
            )),
        }
    }
}

/// The features `request` asks for.
///
/// # Errors
/// [`Error::Input`] for an empty or endless prompt and for a features file that cannot be used; what opening and running
/// the text encoder brings.
pub fn text(
    context: &Context<'_>,
    model: &Model,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Conditioning> {
    let is_guided = request.variant == BaseVariant::Base;
    if let Some(path) = &request.text_features {
        return read_features(path, is_guided);
    }
    prompt::check(&request.prompt)?;
    let advice = prompt::advice(&request.prompt);
    // What the advice asks for, the miniature does not understand.
    if !advice.is_empty() && !model.is_miniature() {
        progress.notice(&Notice::PromptAdvice(advice));
    }
    let tokenizer = model.tokenizer()?;
    let encoder = model.text_encoder()?;
    let negative = request
        .negative_prompt
        .as_deref()
        .unwrap_or(prompt::NEGATIVE_PROMPT);
    let prompts = [
        Some((Field::Prompt, request.prompt.as_str())),
        is_guided.then_some((Field::NegativePrompt, negative)),
    ];
    let total = prompts.iter().flatten().count();
    progress.report(Stage::Text, 0, total);
    let mut features = Vec::new();
    for (done, (field, text)) in prompts.into_iter().flatten().enumerate() {
        let ids = tokenizer.encode(text);
        prompt::check_length(field, ids.len())?;
        if ids.len() > prompt::MAX_TOKENS {
            let tokens = ids.len();
            progress.notice(&Notice::PromptCut { field, tokens });
        }
        let (weights, config) = (&encoder.weights, &encoder.config);
        let encode = || encode_prompt(context, weights, config, &ids, request.softcap);
        features.push(context.features.get(&ids, request.softcap, encode)?);
        progress.report(Stage::Text, done + 1, total);
    }
    let mut features = features.into_iter();
    let positive = features.next().expect("the prompt comes first");
    Ok(Conditioning {
        positive,
        negative: features.next(),
    })
}

/// Audio tokens of the whole of a voice track.
///
/// # Errors
/// [`Error::Input`] if it is too short for one.
pub fn voice_tokens(voice: &Voice) -> Result<usize> {
    // What was read of it may be less than all, and its last sample is made of a part of one.
    let samples = voice
        .samples
        .len()
        .max((voice.seconds * f64::from(VOICE_RATE)) as usize);
    if samples < HOP {
        let has = samples as f64 / f64::from(VOICE_RATE);
        return Err(Error::input(
            "voice track",
            format!("must last 0.04 seconds at least; found {has:.3}"),
        ));
    }
    Ok(samples / HOP)
}

fn read_features(path: &Path, is_guided: bool) -> Result<Conditioning> {
    let file = Safetensors::open(path).map_err(|e| as_input(path, &e))?;
    let positive = features_of(&file, path, FEATURES)?;
    let negative = is_guided
        .then(|| features_of(&file, path, NEGATIVE_FEATURES))
        .transpose()?;
    let width = positive.shape()[1];
    if let Some(other) = negative
        .as_ref()
        .map(|n| n.shape()[1])
        .filter(|&other| other != width)
    {
        let problem =
            format!("`{NEGATIVE_FEATURES}` must be {width} wide like `{FEATURES}`; found {other}");
        return Err(Error::input(path.display().to_string(), problem));
    }
    Ok(Conditioning { positive, negative })
}

fn features_of(file: &Safetensors, path: &Path, name: &str) -> Result<Tensor> {
    let bad = |problem: String| Error::input(path.display().to_string(), problem);
    let info = file.info(name).ok_or_else(|| {
        bad(format!(
            "must hold a tensor `{name}` [tokens, width]; found none"
        ))
    })?;
    let is_float = matches!(info.dtype, DType::F32 | DType::Bf16 | DType::F16);
    let fits = info.shape.rank() == 2
        && (1..=prompt::MAX_TOKENS).contains(&info.shape[0])
        && info.shape[1] > 0;
    if !fits || !is_float {
        let limit = prompt::MAX_TOKENS;
        return Err(bad(format!(
            "`{name}` must be floats [1 to {limit} tokens, width]; found {} {}",
            info.dtype, info.shape
        )));
    }
    let tensor = file.load(name).map_err(|e| as_input(path, &e))?;
    if let Some(index) = tensor.to_f32().iter().position(|v| !v.is_finite()) {
        return Err(bad(format!(
            "`{name}` holds NaN or infinity at element {index}"
        )));
    }
    Ok(tensor.cast(DType::F32))
}

/// A features file is an input, not a part of the model.
fn as_input(path: &Path, error: &Error) -> Error {
    match error {
        Error::Weights { problem, .. } => Error::input(path.display().to_string(), problem.clone()),
        other => Error::input(path.display().to_string(), other.to_string()),
    }
}
