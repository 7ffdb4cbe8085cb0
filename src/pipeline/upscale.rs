//! The super-resolution pass: base latents are upsampled, noised and denoised again by another network.

use super::{
    Context,
    denoise::{
        Guidance, InitialLatents, Latents, Network, NoiseSource, Sampling, StepEvent, denoise,
        grid_of,
    },
};
use crate::{
    Result, Tensor,
    sampler::{self, Method, noise, zero_snr},
};

/// Settings of the pass.
#[derive(Clone, Copy, Debug)]
pub struct Upscaling {
    /// Latent rows and columns of the result.
    pub target: (usize, usize),
    /// Steps.
    pub steps: usize,
    /// Guidance, if there is a negative prompt.
    pub guidance: Option<Guidance>,
    /// Level of the noise added to the upsampled video; see [`zero_snr`].
    pub noise_value: usize,
}

/// Refines `base` (video `[48, T, h, w]`, audio `[A, 64]`) to video `[48, T, H, W]`, where (H, W) is
/// `upscaling.target`. The audio of the result is the base pass's: the network sees a noised copy of it, which it does
/// not change. `text` are features `[Lt, Ct]` of each condition, `image` a latent frame `[48, 1, H, W]`.
///
/// # Errors
/// As [`denoise`]; also [`crate::Error::Request`] for a noise level that does not exist.
pub fn upscale(
    context: &Context<'_>,
    network: &Network,
    (base, text, image): (&Latents, Vec<Tensor>, Option<Tensor>),
    upscaling: &Upscaling,
    draw: &NoiseSource<'_>,
    on_step: &mut dyn FnMut(StepEvent<'_>) -> Result<()>,
) -> Result<Latents> {
    let start = InitialLatents {
        video: enlarge(base, upscaling, draw)?,
        audio: noised_audio(base, draw)?,
        text,
        image,
    };
    let sampling = Sampling {
        method: Method::UniPc,
        steps: upscaling.steps,
        guidance: upscaling.guidance,
        updates_audio: false,
    };
    let refined = denoise(context, network, &start, &sampling, draw, on_step)?;
    Ok(Latents {
        video: refined.video,
        audio: base.audio.clone(),
    })
}

/// `a up + sqrt(1 - a^2) noise`, f32 `[48, T, H, W]`; nothing is drawn at level 0.
fn enlarge(base: &Latents, upscaling: &Upscaling, draw: &NoiseSource<'_>) -> Result<Tensor> {
    let grid = grid_of(&base.video);
    let (height, width) = upscaling.target;
    let mut video = sampler::upsample(
        &base.video.to_f32(),
        (grid.height, grid.width),
        (height, width),
    );
    let shape = [base.video.shape()[0], grid.frames, height, width];
    if upscaling.noise_value > 0 {
        let [signal, spread] = zero_snr::factors(upscaling.noise_value)?;
        let noise = draw(noise::SR_VIDEO, &shape)?;
        video
            .iter_mut()
            .zip(noise.to_f32().iter())
            .for_each(|(x, e)| *x = signal * *x + spread * e);
    }
    Ok(Tensor::from_f32(shape, &video))
}

fn noised_audio(base: &Latents, draw: &NoiseSource<'_>) -> Result<Tensor> {
    let [of_noise, of_base] = zero_snr::AUDIO;
    let noise = draw(noise::SR_AUDIO, base.audio.shape().extents())?;
    let (noise, audio) = (noise.to_f32(), base.audio.to_f32());
    let mixed: Vec<f32> = noise
        .iter()
        .zip(audio.iter())
        .map(|(e, a)| of_noise * e + of_base * a)
        .collect();
    Ok(Tensor::from_f32(base.audio.shape().clone(), &mixed))
}
