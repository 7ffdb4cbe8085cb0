//! Golden cases: numbers of the reference implementation, replayed on an executor.
//!
//! A [`Suite`] is a folder with an `index.json` and files, or a small one in the binary. A [`GoldenCase`] is an entry
//! of the index with its tensors. [`run`] replays a case of any known kind and reports, for each of its values, our
//! error and the allowed error, which comes from the index.
//!
//! A case of a network runs twice: without rounding, where it must agree with a float64 run of the reference (1e-4 for
//! denoising, 1e-5 for the autoencoders, 1e-5 or with long prompts 2e-5 for the text encoder), and with the reference's
//! roundings, where its error may be at most 1.5 times (text encoder 1.25) that of the reference itself. On the CPU:
//!
//! | | cases | largest error over what is allowed |
//! |---|--:|--:|
//! | denoising network, f32 / bf16 | 6 | 0.05 / 0.70 |
//! | samplers, rotation, ops | 7 | 1.0 (a table of the reference's, within one f32 ulp of 1) |
//! | whole clips in latent space, f32 / bf16 | 4 | 0.19 / 0.76 |
//! | video autoencoders | 18 | 0.70 |
//! | audio autoencoder | 7 | 0.24 |
//! | text encoder and tokenizer | 8 | 0.80 |
//! | pictures, frames, sound | 16 | exact, or one grey level |

mod audio_vae;
mod case;
mod dit;
mod embedded;
mod end_to_end;
mod media;
mod miniature;
mod ops;
mod rescale;
mod sampler;
mod text_encoder;
mod tokenizer;
mod video_vae;

pub use case::{GoldenCase, Suite, Tensors};
pub use embedded::embedded;

use crate::{Error, Result, executor::Executor, qualify::Check, sampler::Method};

/// Replays `case` on `executor`.
///
/// # Errors
/// [`Error::Failed`] for an unknown kind, [`Error::Input`] for tensors or settings that the case lacks; also the
/// errors of the executor.
pub fn run(case: &GoldenCase<'_>, executor: &dyn Executor) -> Result<Vec<Check>> {
    match case.kind() {
        "dit_forward" => dit::forward(case, executor),
        "rope" => ops::rope(case),
        "ops" => ops::ops(case, executor),
        "sampler_ddim" => sampler::run(case, Method::Consistency),
        "sampler_unipc" => sampler::run(case, Method::UniPc),
        "sampler_sde" => sampler::run(case, Method::Sde),
        "end_to_end" => end_to_end::run(case, executor),
        "oobleck.decode" => audio_vae::decode(case, executor),
        "oobleck.encode" => audio_vae::encode(case, executor),
        "oobleck.encode_windowed" => audio_vae::encode_windowed(case, executor),
        "turbo_vaed.decode" => video_vae::turbo_decode(case, executor),
        "turbo_vaed.decoder_call" => video_vae::turbo_call(case, executor),
        "wan22.encode" => video_vae::wan_encode(case, executor),
        "wan22.decode" => video_vae::wan_decode(case, executor),
        "text_encoder" => text_encoder::encode(case, executor),
        "audio.resample_441_512" => media::resample(case),
        "audio.merge_windows" => media::merge(case),
        "audio.pcm16" => media::to_pcm16(case),
        "image.preprocess" => media::preprocess_image(case),
        "video.to_u8" => media::video_to_u8(case),
        "video.rescale" => media::rescale_video(case),
        "tokenizer" => tokenizer::own_vocabulary(case),
        "miniature" => miniature::run(case, executor),
        kind => Err(Error::Failed {
            problem: format!("{}: unknown kind of case `{kind}`", case.name()),
        }),
    }
}

/// Kind of the one case that needs a file outside of the suites: the published tokenizer.
pub const PUBLISHED_VOCABULARY: &str = "tokenizer_real_vocabulary";

/// Replays a case of kind [`PUBLISHED_VOCABULARY`] with the bytes of the published `tokenizer.json`.
///
/// # Errors
/// [`Error::Weights`] if the file is not a tokenizer, [`Error::Input`] if
/// the case is incomplete.
pub fn run_published_vocabulary(case: &GoldenCase<'_>, tokenizer: &[u8]) -> Result<Vec<Check>> {
    tokenizer::published_vocabulary(case, tokenizer)
}
