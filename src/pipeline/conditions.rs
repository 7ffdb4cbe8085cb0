//! What steers a clip: features of the prompt and of the negative prompt, from the encoder or from a file.

use std::path::Path;

use super::{
    Context, Model, Notice, Progress, Stage,
    request::{self, BaseVariant, Request},
    text::encode_prompt,
};
use crate::{
    DType, Error, Result, Tensor,
    error::Field,
    media::{VOICE_RATE, Voice},
    text::prompt,
    weights::{PositionScheme, Properties, Safetensors, Source, Variant},
};

/// Samples of a voice track per audio token.
const HOP: usize = VOICE_RATE as usize / request::FPS;

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
    let sr = request::resolve(request, model.defaults(), None)?.sr;
    let sr = sr.map(|(variant, _)| variant.network());
    let passes = [Some(request.variant.network()), sr];
    let check_placed = |what: &str, at: usize, tokens: usize| {
        // Only the first pass is guided by the second text.
        let mut taken = passes.into_iter().flatten().take(2 - at);
        taken.try_for_each(|pass| check_placed(pass, &model.properties(pass), what, tokens))
    };
    if let Some(path) = &request.text_features {
        let features = read_features(path, is_guided)?;
        let name = path.display().to_string();
        for (at, text) in features.features(is_guided)?.iter().enumerate() {
            check_placed(&name, at, text.shape()[0])?;
        }
        return Ok(features);
    }
    prompt::check(&request.prompt)?;
    let advice = prompt::advice(&request.prompt);
    // What the advice asks for, the miniature does not understand.
    if !advice.is_empty() && !model.is_miniature() {
        progress.notice(&Notice::PromptAdvice(advice));
    }
    let tokenizer = model.tokenizer()?;
    let negative = request.negative_prompt.as_deref();
    let negative = negative.unwrap_or(prompt::NEGATIVE_PROMPT);
    let prompts = [
        Some((Field::Prompt, request.prompt.as_str())),
        is_guided.then_some((Field::NegativePrompt, negative)),
    ];
    let mut texts = Vec::new();
    for (field, text) in prompts.into_iter().flatten() {
        let ids = tokenizer.encode(text);
        let tokens = ids.len();
        prompt::check_length(field, tokens)?;
        check_placed(&field.name().replace('_', " "), texts.len(), tokens)?;
        if tokens > prompt::MAX_TOKENS {
            progress.notice(&Notice::PromptCut { field, tokens });
        }
        texts.push(ids);
    }
    let encoder = model.text_encoder()?;
    progress.report(Stage::Text, 0, texts.len());
    let mut features = Vec::new();
    for (done, ids) in texts.iter().enumerate() {
        let (weights, config) = (&encoder.weights, &encoder.config);
        let encode = || encode_prompt(context, weights, config, ids, request.softcap);
        features.push(context.features.get(ids, request.softcap, encode)?);
        progress.report(Stage::Text, done + 1, texts.len());
    }
    let mut features = features.into_iter();
    let positive = features.next().expect("the prompt comes first");
    Ok(Conditioning {
        positive,
        negative: features.next(),
    })
}

/// Checks that the network of a pass can place a text of so many tokens in time; `what` is the text.
///
/// # Errors
/// [`Error::Input`] for a single token that is to be stretched over a clip, which the reference refuses as well.
pub fn check_placed(pass: Variant, of: &Properties, what: &str, tokens: usize) -> Result<()> {
    if tokens != 1 || of.coordinates != PositionScheme::V1 {
        return Ok(());
    }
    let problem = format!(
        "must have at least two tokens of text for the network `{}`, which stretches them over the clip; found one; \
         say more, or choose a size without super-resolution",
        pass.key()
    );
    Err(Error::input(what, problem))
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
