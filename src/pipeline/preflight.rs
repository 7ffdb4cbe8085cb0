//! What would fail after minutes of work is looked for before it: passes and decoder calls that do not fit into
//! memory.

use super::{
    Context, Model,
    conditions::Conditioning,
    decode::in_bytes,
    denoise::pass_of,
    formats::{QuantizationPolicy, quantized},
    request::{BaseVariant, Job, Request, VideoDecoder},
};
use crate::{
    Result,
    model::{
        dit,
        video_vae::{self, Chunks, turbo, turbo::CallShape, wan_decoder},
    },
    plan::Grid,
    sampler::Method,
    weights::Variant,
};

/// Checks every pass and the decoder of `job`.
///
/// # Errors
/// [`Error::Memory`](crate::Error::Memory) for what does not fit, and what opening the parts brings.
pub fn check(
    context: &Context<'_>,
    model: &Model,
    request: &Request,
    job: &Job,
    conditions: &Conditioning,
) -> Result<()> {
    let is_guided = request.variant == BaseVariant::Base;
    let method = if is_guided {
        Method::UniPc
    } else {
        Method::Consistency
    };
    let of = |is_guided| -> Result<Vec<usize>> {
        let features = conditions.features(is_guided)?;
        Ok(features.iter().map(|text| text.shape()[0]).collect())
    };
    let base = (request.variant.network(), job.base, method, of(is_guided)?);
    let sr = job
        .sr
        .map(|(variant, grid)| Ok((variant.network(), grid, Method::UniPc, of(false)?)));
    for (variant, grid, method, text) in [Some(base), sr.transpose()?].into_iter().flatten() {
        check_pass(
            context,
            (model, &request.formats),
            (variant, grid),
            job.audio_tokens,
            (method, text),
        )?;
    }
    check_decoder(context, model, request.decoder, job.grid())
}

fn check_pass(
    context: &Context<'_>,
    (model, formats): (&Model, &QuantizationPolicy),
    (variant, grid): (Variant, Grid),
    audio: usize,
    (method, text): (Method, Vec<usize>),
) -> Result<()> {
    let network = model.network(variant, formats)?;
    let pass = pass_of(&network, (grid, audio, text), method, true, false);
    let plan = quantized(dit::denoise(&pass).0, &network.formats);
    context.check(plan)
}

fn check_decoder(
    context: &Context<'_>,
    model: &Model,
    decoder: VideoDecoder,
    grid: Grid,
) -> Result<()> {
    let precision = video_vae::VaePrecision::BF16;
    let Grid {
        frames,
        height,
        width,
    } = grid;
    let plan = match decoder {
        VideoDecoder::Turbo => {
            let turbo = model.turbo()?;
            let config = &turbo.config;
            let calls = Chunks::new(config, frames).calls;
            let longest = calls
                .iter()
                .max_by_key(|call| call.latents.len())
                .expect("a clip has a call");
            let frames = longest.latents.len();
            let shape = CallShape {
                frames,
                height,
                width,
                first: longest.first,
            };
            in_bytes(turbo::decoder_call(config, precision, shape)).0
        }
        VideoDecoder::Wan => {
            let wan = model.wan()?;
            let config = &wan.config;
            in_bytes(wan_decoder::decode(
                config, precision, frames, height, width,
            ))
            .0
        }
    };
    context.check(plan)
}
