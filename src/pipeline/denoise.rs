//! One pass of a denoising network: the sampler's table, row by row, on an executor.

use super::{Context, formats::quantized};
use crate::{
    DType, Error, Result, Tensor,
    executor::Program,
    model::dit::{self, Coordinates, DenoisePorts, DitConfig, History, Pass, Sequence, Update},
    plan::{Buf, Grid},
    sampler::{self, Method, StepCoefficients, guidance, noise},
    tensor::LayerFormats,
    weights::{TensorSpec, Weights},
};

/// A denoising network and its sampling properties.
pub struct Network {
    /// Its sizes.
    pub config: DitConfig,
    /// Its tensors.
    pub weights: Weights,
    /// How audio and text are placed in time.
    pub coordinates: Coordinates,
    /// Window radius of local layers, latent frames.
    pub window_radius: usize,
    /// Shift of the noise schedule.
    pub shift: f64,
    /// Formats of the layers that are not bf16; `weights` provides them so.
    pub formats: LayerFormats,
}

impl Network {
    /// Spec of the tensor of frequencies, which the host reads itself.
    pub fn bands_spec() -> TensorSpec {
        TensorSpec::new(dit::BANDS_NAME, [16], DType::F32)
    }

    /// The rotation's table for `sequence`, f32 `[N, 96]`.
    ///
    /// # Errors
    /// [`Error::Weights`] if the checkpoint lacks the frequencies; [`Error::Input`] for a prompt of a single token
    /// that would have to be stretched.
    pub fn rope_table(&self, sequence: Sequence) -> Result<Tensor> {
        let bands = self
            .weights
            .load(&Self::bands_spec())?
            .to_f32()
            .into_owned();
        let bands: [f32; 16] = bands.try_into().expect("the shape was checked");
        let table = sequence.rope_table(self.coordinates, &bands);
        let table = table.map_err(|problem| Error::input("prompt", problem))?;
        Ok(Tensor::from_f32([sequence.len(), 96], &table))
    }
}

/// Classifier-free guidance of a pass.
#[derive(Clone, Copy, Debug)]
pub enum Guidance {
    /// Base pass: this factor while the noise is strong, then 2; 5 for audio.
    Base(f32),
    /// Super-resolution pass: a factor by latent frame.
    Sr(guidance::SrGuidance),
}

/// How a pass samples.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Step rule.
    pub method: Method,
    /// Steps.
    pub steps: usize,
    /// Guidance, if there is a negative prompt.
    pub guidance: Option<Guidance>,
    /// Whether the audio latent is sampled too; otherwise it is kept.
    pub updates_audio: bool,
}

/// Inputs of a pass, all f32.
pub struct InitialLatents {
    /// Video latent `[48, T, H, W]`.
    pub video: Tensor,
    /// Audio latent `[A, 64]`.
    pub audio: Tensor,
    /// Text features `[Lt, Ct]` of the prompt and, with guidance, of the negative prompt.
    pub text: Vec<Tensor>,
    /// Latent of the first frame, `[48, 1, H, W]`.
    pub image: Option<Tensor>,
}

/// Final latents.
#[derive(Clone, Debug)]
pub struct Latents {
    /// `[48, T, H, W]` f32.
    pub video: Tensor,
    /// `[A, 64]` f32.
    pub audio: Tensor,
}

/// Provider of noise: `(name of the draw, shape)` to a standard normal f32 tensor.
pub type NoiseSource<'a> = dyn Fn(&str, &[usize]) -> Result<Tensor> + 'a;

/// The seeded draws of [`noise`](mod@noise).
pub fn seeded(seed: u64) -> impl Fn(&str, &[usize]) -> Result<Tensor> {
    move |name, shape| {
        let count = shape.iter().product();
        Ok(Tensor::from_f32(shape, &noise::normal(seed, name, count)))
    }
}

/// Latent frames, rows and columns of a video latent `[48, T, H, W]`.
pub fn grid_of(video: &Tensor) -> Grid {
    let shape = video.shape();
    Grid::new(shape[1], shape[2], shape[3])
}

/// Runs all steps of a pass and returns the latents. `on_step` is called before and after each step.
///
/// # Errors
/// [`Error::Input`] if text features have another width than the network takes, [`Error::Weights`] for tensors that
/// are missing or do not match, [`Error::Memory`], [`Error::Device`], [`Error::Interrupted`], and the errors of `draw`
/// and `on_step`.
pub fn denoise(
    context: &Context<'_>,
    network: &Network,
    start: &InitialLatents,
    sampling: &Sampling,
    draw: &NoiseSource<'_>,
    on_step: &mut dyn FnMut(StepEvent<'_>) -> Result<()>,
) -> Result<Latents> {
    check_width(network, &start.text)?;
    let schedule = sampler::schedule(sampling.steps, network.shift)?;
    let rows = sampler::rows(sampling.method, &schedule);
    let pass = pass(network, start, sampling);
    let (plan, ports) = dit::denoise(&pass);
    let plan = quantized(plan, &network.formats);
    let mut program = context.prepare(plan, &network.weights)?;
    begin(&mut *program, &ports, network, &pass, start)?;
    for (step, row) in rows.iter().enumerate() {
        let factors = guidance_of(sampling, schedule.timesteps[step], pass.grid.frames);
        write_step(&mut *program, &ports, row, factors)?;
        write_noise(
            &mut *program,
            &ports,
            step,
            (&start.video, &start.audio),
            draw,
        )?;
        on_step(StepEvent {
            step,
            after: false,
            program: &mut *program,
            ports: &ports,
        })?;
        program.run()?;
        on_step(StepEvent {
            step,
            after: true,
            program: &mut *program,
            ports: &ports,
        })?;
    }
    let video = program
        .read(ports.video.latent)?
        .reshape(start.video.shape().clone());
    let audio = program
        .read(ports.audio_latent)?
        .reshape(start.audio.shape().clone());
    Ok(Latents { video, audio })
}

/// Refuses features of another width: those from a file may be another model's.
fn check_width(network: &Network, text: &[Tensor]) -> Result<()> {
    let expected = network.config.text_in_channels;
    match text
        .iter()
        .map(|t| t.shape().cols())
        .find(|&width| width != expected)
    {
        Some(found) => {
            let problem = format!("must be {expected} wide for this model; found {found}");
            Err(Error::input("text features", problem))
        }
        None => Ok(()),
    }
}

/// Event before or after a step, for progress and comparison.
pub struct StepEvent<'a> {
    /// Index of the step.
    pub step: usize,
    /// Whether the step has run.
    pub after: bool,
    /// The program, from which latents and velocities can be read.
    pub program: &'a mut dyn Program,
    /// Its buffers.
    pub ports: &'a DenoisePorts,
}

fn pass(network: &Network, start: &InitialLatents, sampling: &Sampling) -> Pass {
    let text = start.text.iter().map(|text| text.shape()[0]).collect();
    let sizes = (grid_of(&start.video), start.audio.shape()[0], text);
    let has_image = start.image.is_some();
    pass_of(
        network,
        sizes,
        sampling.method,
        sampling.updates_audio,
        has_image,
    )
}

/// The pass of `network` over a latent grid, audio tokens, and the text tokens of each condition.
pub(super) fn pass_of(
    network: &Network,
    (grid, audio, text): (Grid, usize, Vec<usize>),
    method: Method,
    updates_audio: bool,
    has_image: bool,
) -> Pass {
    let history = if method.draws_noise() {
        History::Noise
    } else {
        History::Multistep
    };
    Pass {
        config: network.config.clone(),
        grid,
        audio,
        text,
        window_radius: network.window_radius,
        history,
        updates_audio,
        has_image,
    }
}

/// Writes the inputs that are the same for all steps, and the latents with the image in place.
fn begin(
    program: &mut dyn Program,
    ports: &DenoisePorts,
    network: &Network,
    pass: &Pass,
    start: &InitialLatents,
) -> Result<()> {
    for (index, text) in start.text.iter().enumerate() {
        program.write(ports.text[index], text)?;
        program.write(
            ports.rope[index],
            &network.rope_table(pass.sequence(index))?,
        )?;
    }
    program.write(ports.audio_latent, &start.audio)?;
    if let (Some(buf), Some(image)) = (ports.image, &start.image) {
        program.write(buf, image)?;
        program.write(ports.video.latent, &with_first_frame(&start.video, image))
    } else {
        program.write(ports.video.latent, &start.video)
    }
}

/// The latent with its first frame replaced by `image`.
fn with_first_frame(video: &Tensor, image: &Tensor) -> Tensor {
    let grid = grid_of(video);
    let mut values = video.to_f32().into_owned();
    let image = image.to_f32();
    let frame = grid.height * grid.width;
    for (channel, picture) in values
        .chunks_exact_mut(grid.positions())
        .zip(image.chunks_exact(frame))
    {
        channel[..frame].copy_from_slice(picture);
    }
    Tensor::from_f32(video.shape().clone(), &values)
}

/// Guidance factors: one per latent frame for video, one for audio.
fn guidance_of(sampling: &Sampling, timestep: u32, frames: usize) -> Option<(Vec<f32>, f32)> {
    let video = match sampling.guidance? {
        Guidance::Base(scale) => guidance::base_video(scale, timestep, frames),
        Guidance::Sr(sr) => guidance::sr_video(&sr, frames),
    };
    Some((video, guidance::AUDIO))
}

fn write_step(
    program: &mut dyn Program,
    ports: &DenoisePorts,
    row: &StepCoefficients,
    guidance: Option<(Vec<f32>, f32)>,
) -> Result<()> {
    let mut write =
        |buf: Buf, values: &[f32]| program.write(buf, &Tensor::from_f32([values.len()], values));
    write(ports.coefficients.m, &row.m)?;
    match ports.coefficients.c {
        Some(c) => {
            write(c, &row.c)?;
            write(ports.coefficients.x, &row.x)?;
        }
        None => write(ports.coefficients.x, &[row.x[1], row.x[3], row.x[4]])?,
    }
    if let Some((video, audio)) = guidance {
        let pairs = |factors: &[f32]| -> Vec<f32> {
            factors
                .iter()
                .copied()
                .chain(factors.iter().map(|g| 1.0 - g))
                .collect()
        };
        let updates = [
            Some((&ports.video, pairs(&video))),
            ports.audio.as_ref().map(|a| (a, pairs(&[audio]))),
        ];
        for (update, factors) in updates.into_iter().flatten() {
            let buf = update
                .guidance
                .expect("a guided pass has factors for each velocity");
            write(buf, &factors)?;
        }
    }
    Ok(())
}

/// Draws in the reference's order, video then audio, even if the factor is zero, so that the draws of a step do not
/// depend on the schedule.
fn write_noise(
    program: &mut dyn Program,
    ports: &DenoisePorts,
    step: usize,
    (video, audio): (&Tensor, &Tensor),
    draw: &NoiseSource<'_>,
) -> Result<()> {
    let mut write = |update: &Update, name: String, like: &Tensor| match update.noise {
        Some(buf) => program.write(buf, &draw(&name, like.shape().extents())?),
        None => Ok(()),
    };
    write(&ports.video, noise::step_video(step), video)?;
    match &ports.audio {
        Some(update) => write(update, noise::step_audio(step), audio),
        None => Ok(()),
    }
}
