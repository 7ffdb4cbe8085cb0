//! The whole story: a request becomes a file.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{
    Context, Model, Notice, Progress, Stage, conditions,
    conditions::Conditioning,
    decode::{decode_video, decode_wan},
    denoise::{Guidance, InitialLatents, Latents, Sampling, StepEvent, denoise, seeded},
    image::encode_image,
    latents_file, miniature,
    output::{Content, Draft, Output, Report},
    preflight,
    request::{self, BaseVariant, Job, Request, SrVariant, VideoDecoder},
    sound::{decode_sound, encode_voice, noise_len},
    upscale::{Upscaling, upscale},
};
use crate::{
    Result, Tensor,
    media::{self, AtomicFile, Clip, EncodeOptions, Image, Tags, Voice},
    model::dit::latent_shape,
    plan::Grid,
    sampler::{Method, noise, zero_snr},
};

/// Makes the clip that `request` asks for: text, picture and voice become conditions, noise becomes latents,
/// latents become frames and sound, and those a file.
///
/// # Errors
/// Every kind of [`crate::Error`]; whatever happens, either all files are left or none.
pub fn generate(
    context: &Context<'_>,
    model: &Model,
    request: &Request,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Report> {
    draft(context, model, request, output, progress)?.publish()
}

/// The same, nothing published yet.
pub(super) fn draft(
    context: &Context<'_>,
    model: &Model,
    request: &Request,
    output: &Output,
    progress: &dyn Progress,
) -> Result<Draft> {
    let mut files = output.open(request, model)?;
    let mut run = Run::new(context, model, request, progress);
    let preview = files.preview.take().map(|file| (file, &output.encode));
    let (job, latents) = run.latents(preview)?;
    if let Some(file) = &mut files.latents {
        latents_file::save_latents(file, &latents)?;
    }
    let (frames, audio) = run.decoded(&job, &latents)?;
    let clip = clip(job.shown(), &frames, &audio);
    if let Some(file) = &mut files.sheet {
        media::write_sheet(file, &clip)?;
    }
    if let Some(file) = &mut files.thumbnail {
        media::write_thumbnail(file, &clip)?;
    }
    let mut encode = output.encode.clone();
    if output.metadata {
        encode.tags = tags(request, model, &job);
    }
    let mut bytes = Vec::new();
    let file = run.timed(Stage::Mux, |run| {
        run.mux(
            Stage::Mux,
            &mut |report, cancel| match files.clip.is_empty() {
                true => media::write_clip_to(&mut bytes, &clip, &encode, report, cancel),
                false => media::write_clip(&mut files.clip, &clip, &encode, report, cancel),
            },
        )
    })?;
    let track = output.content.then(|| media::sound_track(&clip, &encode));
    let content = track
        .transpose()?
        .map(|audio| Content::new(job.shown(), frames, audio));
    context.cancel.check()?;
    let beside = [files.latents, files.sheet, files.thumbnail].into_iter();
    Ok(Draft {
        report: run.report(job, &latents, file),
        files: beside.flatten().chain(files.clip).collect(),
        clip: bytes,
        content,
    })
}

/// What the clip says of itself. It is the same whenever and wherever the clip is made.
fn tags(request: &Request, model: &Model, job: &Job) -> Tags {
    let is_prompt_used = request.text_features.is_none();
    let comment = serde_json::json!({ "seed": job.seed, "model": model.short_name() });
    Tags {
        tool: concat!("gallop ", env!("CARGO_PKG_VERSION")).into(),
        description: if is_prompt_used {
            request.prompt.clone()
        } else {
            String::new()
        },
        comment: comment.to_string(),
    }
}

fn clip<'a>((width, height): (usize, usize), frames: &'a [u8], audio: &'a [f32]) -> Clip<'a> {
    Clip {
        width,
        height,
        frames,
        audio,
    }
}

/// The final latents of `request`, which frames and sound would be decoded from.
///
/// # Errors
/// As [`generate`].
pub fn latents(
    context: &Context<'_>,
    model: &Model,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Latents> {
    let (_, latents) = Run::new(context, model, request, progress).latents(None)?;
    Ok(latents)
}

/// The numbers that `request` will have, and what its sender should know; its picture and its voice track are read.
pub(super) fn resolve(context: &Context<'_>, model: &Model, request: &Request) -> Result<Job> {
    let (job, _, _) = resolved(context, model, request)?;
    Ok(job)
}

/// The job of `request`, its picture and its voice track.
fn resolved(
    context: &Context<'_>,
    model: &Model,
    request: &Request,
) -> Result<(Job, Option<Image>, Option<Voice>)> {
    if model.is_miniature() {
        miniature::check(request)?;
    }
    // Both may take a while, and what is wrong with them is said before anything expensive begins.
    let seconds = request::seconds_most(request)?;
    let voice = request.audio.clone().map(|audio| {
        let read = move || audio.open_voice(seconds);
        context.cancel.watch(read)
    });
    let voice = voice.transpose()?;
    let picture = request.image.clone().map(|image| {
        let read = move || image.open_image();
        context.cancel.watch(read)
    });
    let picture = picture.transpose()?;
    let voice_tokens = voice.as_ref().map(conditions::voice_tokens).transpose()?;
    let mut job = request::resolve(request, model.defaults(), voice_tokens)?;
    if model.is_miniature() {
        job.notices.splice(0..0, miniature::limits(request, &job));
    }
    if picture.as_ref().is_some_and(|it| it.is_transparent) {
        job.notices.push(Notice::AlphaDropped);
    }
    Ok((job, picture, voice))
}

/// One request being worked on.
struct Run<'a> {
    context: &'a Context<'a>,
    model: &'a Model,
    request: &'a Request,
    progress: &'a dyn Progress,
    stages: Vec<(Stage, Duration)>,
}

impl<'a> Run<'a> {
    fn new(
        context: &'a Context<'a>,
        model: &'a Model,
        request: &'a Request,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            context,
            model,
            request,
            progress,
            stages: Vec::new(),
        }
    }

    /// Everything up to the decoders. `preview` gets what is refined later, encoded so.
    fn latents(&mut self, preview: Option<(AtomicFile, &EncodeOptions)>) -> Result<(Job, Latents)> {
        let Self {
            context,
            model,
            request,
            progress,
            ..
        } = *self;
        let run = self;
        let (job, picture, voice) = resolved(context, model, request)?;
        job.notices
            .iter()
            .for_each(|notice| progress.notice(notice));
        progress.begin(request, &job);

        let conditions = run.timed(Stage::Text, |run| {
            conditions::text(run.context, run.model, run.request, run.progress)
        })?;
        preflight::check(context, model, request, &job, &conditions)?;
        let images = run.images(picture, &job)?;
        let voice = voice
            .map(|voice| run.voice(voice.samples, &job))
            .transpose()?;
        let base = run.timed(Stage::Base, |run| {
            run.base(&job, &conditions, images.0, voice)
        })?;
        if let (Some(preview), Some(_)) = (preview, job.sr) {
            run.timed(Stage::Preview, |run| run.preview(&job, &base, preview))?;
            progress.preview();
        }
        let latents = match job.sr {
            Some((variant, grid)) => run.timed(Stage::SuperResolution, |run| {
                run.super_resolution((variant, grid), &job, &conditions, (&base, images.1))
            })?,
            None => base,
        };
        Ok((job, latents))
    }

    fn timed<T>(&mut self, stage: Stage, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.context.cancel.check()?;
        let start = Instant::now();
        let result = work(self);
        self.context.release();
        let result = result?;
        self.stages.push((stage, start.elapsed()));
        Ok(result)
    }

    /// Latents of the first frame at the base size and at the refined one.
    fn images(
        &mut self,
        picture: Option<Image>,
        job: &Job,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(picture) = picture else {
            return Ok((None, None));
        };
        self.timed(Stage::Image, |run| {
            let wan = run.model.wan()?;
            let sizes: Vec<Grid> = std::iter::once(job.base)
                .chain(job.sr.map(|(_, grid)| grid))
                .collect();
            run.progress.report(Stage::Image, 0, sizes.len());
            let pixels: Vec<_> = sizes.iter().copied().map(request::pixels).collect();
            let inputs = run.context.cancel.watch(move || {
                let sized = |(width, height)| media::preprocess(&picture, width, height);
                pixels.into_iter().map(sized).collect::<Result<Vec<_>>>()
            })?;
            let mut latents = Vec::new();
            for (done, x) in inputs.into_iter().enumerate() {
                latents.push(encode_image(run.context, &wan.weights, &wan.config, &x)?);
                run.progress.report(Stage::Image, done + 1, sizes.len());
            }
            let mut latents = latents.into_iter();
            Ok((latents.next(), latents.next()))
        })
    }

    /// Latent `[A, 64]` of the voice track, cut to the job's length; its posterior is sampled, as the reference does.
    fn voice(&mut self, mut samples: Vec<f32>, job: &Job) -> Result<Tensor> {
        self.timed(Stage::Voice, |run| {
            run.progress.report(Stage::Voice, 0, 1);
            let audio = run.model.audio()?;
            samples.truncate(job.audio_tokens * audio.config.hop);
            let draws = noise::normal(
                job.seed,
                noise::INIT_AUDIO,
                noise_len(&audio.config, samples.len()),
            );
            let latent = encode_voice(
                run.context,
                &audio.weights,
                &audio.config,
                &samples,
                Some(&draws),
            )?;
            run.progress.report(Stage::Voice, 1, 1);
            Ok(latent)
        })
    }

    fn base(
        &self,
        job: &Job,
        conditions: &Conditioning,
        image: Option<Tensor>,
        voice: Option<Tensor>,
    ) -> Result<Latents> {
        let variant = self.request.variant.network();
        let properties = self.model.properties(variant);
        let network = self.model.network(variant, &self.request.formats)?;
        let draw = seeded(job.seed);
        let is_voiced = voice.is_some();
        let audio_shape = [job.audio_tokens, network.config.audio_in_channels];
        let start = InitialLatents {
            video: draw(noise::INIT_VIDEO, &latent_shape(job.base))?,
            audio: voice.map_or_else(|| draw(noise::INIT_AUDIO, &audio_shape), Ok)?,
            text: conditions.features(self.request.variant == BaseVariant::Base)?,
            image,
        };
        let is_guided = self.request.variant == BaseVariant::Base;
        let sampling = Sampling {
            method: if is_guided {
                Method::UniPc
            } else {
                Method::Consistency
            },
            steps: self.request.steps.unwrap_or(properties.steps),
            guidance: is_guided.then_some(Guidance::Base(properties.guidance as f32)),
            updates_audio: !(is_voiced && (is_guided || self.request.hold_audio)),
        };
        let mut on_step = self.on_step(Stage::Base, sampling.steps);
        denoise(
            self.context,
            &network,
            &start,
            &sampling,
            &draw,
            &mut on_step,
        )
    }

    fn super_resolution(
        &self,
        (variant, grid): (SrVariant, Grid),
        job: &Job,
        conditions: &Conditioning,
        (base, image): (&Latents, Option<Tensor>),
    ) -> Result<Latents> {
        let properties = self.model.properties(variant.network());
        let network = self
            .model
            .network(variant.network(), &self.request.formats)?;
        let upscaling = Upscaling {
            target: (grid.height, grid.width),
            steps: properties.steps,
            guidance: None,
            noise_value: zero_snr::DEFAULT_NOISE_VALUE,
        };
        let text = conditions.features(false)?;
        let draw = seeded(job.seed);
        let mut on_step = self.on_step(Stage::SuperResolution, upscaling.steps);
        upscale(
            self.context,
            &network,
            (base, text, image),
            &upscaling,
            &draw,
            &mut on_step,
        )
    }

    /// Publishes what the base pass made.
    fn preview(
        &self,
        job: &Job,
        base: &Latents,
        (file, encode): (AtomicFile, &EncodeOptions),
    ) -> Result<()> {
        let size = request::pixels(job.base);
        let frames = self.frames(Stage::Preview, job, base, size)?;
        let audio = self.sound(Stage::Preview, base)?;
        let clip = clip(size, &frames, &audio);
        let mut files = vec![file];
        self.mux(Stage::Preview, &mut |report, cancel| {
            media::write_clip(&mut files, &clip, encode, report, cancel)
        })?;
        media::publish(files)
    }

    /// Reports steps as they complete.
    fn on_step(&self, stage: Stage, steps: usize) -> impl FnMut(StepEvent<'_>) -> Result<()> {
        self.progress.report(stage, 0, steps);
        let progress = self.progress;
        move |event| {
            if event.after {
                progress.report(stage, event.step + 1, steps);
            }
            Ok(())
        }
    }

    /// `[F, height, width, 3]` bytes.
    fn frames(
        &self,
        stage: Stage,
        job: &Job,
        latents: &Latents,
        (width, height): (usize, usize),
    ) -> Result<Vec<u8>> {
        let mut frames = Vec::with_capacity(job.frames() * width * height * 3);
        match self.request.decoder {
            VideoDecoder::Turbo => {
                let turbo = self.model.turbo()?;
                let mut report = |done, total| self.progress.report(stage, done, total);
                let mut sink = |chunk: Tensor| {
                    frames.extend_from_slice(chunk.bytes());
                    Ok(())
                };
                decode_video(
                    self.context,
                    &turbo.weights,
                    &turbo.config,
                    &latents.video,
                    &mut report,
                    &mut sink,
                )?;
            }
            VideoDecoder::Wan => {
                self.progress.report(stage, 0, 1);
                let wan = self.model.wan()?;
                let decoded = decode_wan(self.context, &wan.weights, &wan.config, &latents.video)?;
                frames.extend_from_slice(decoded.bytes());
                self.progress.report(stage, 1, 1);
            }
        }
        Ok(frames)
    }

    /// `[samples, 2]` at 44 100 Hz.
    fn sound(&self, stage: Stage, latents: &Latents) -> Result<Vec<f32>> {
        self.progress.report(stage, 0, 1);
        let audio = self.model.audio()?;
        let wave = decode_sound(self.context, &audio.weights, &audio.config, &latents.audio)?;
        let resampled = media::resample_441_512(&wave.to_f32(), audio.config.wave_channels);
        self.progress.report(stage, 1, 1);
        Ok(resampled)
    }

    fn decoded(&mut self, job: &Job, latents: &Latents) -> Result<(Vec<u8>, Vec<f32>)> {
        let frames = self.timed(Stage::DecodeVideo, |run| {
            let frames = run.frames(Stage::DecodeVideo, job, latents, job.pixels())?;
            Ok(match job.scale {
                1 => frames,
                scale => media::enlarge(&frames, job.pixels(), scale),
            })
        })?;
        let audio = self.timed(Stage::DecodeAudio, |run| {
            run.sound(Stage::DecodeAudio, latents)
        })?;
        Ok((frames, audio))
    }

    fn mux(&self, stage: Stage, write: &mut WriteClip<'_>) -> Result<media::EncodeReport> {
        self.progress.report(stage, 0, 1);
        let cancel = || self.context.cancel.is_cancelled();
        let mut report = |done, total| self.progress.report(stage, done, total);
        write(&mut report, &cancel)
    }

    fn report(self, job: Job, latents: &Latents, file: media::EncodeReport) -> Report {
        Report {
            latents_sha256: hash(latents),
            job,
            stages: self.stages,
            file,
            model: self.model.name(),
            device: self.context.executor.name(),
            formats: self.request.formats.clone(),
        }
    }
}

/// Encodes and writes a clip, told whom to report to and when to stop.
type WriteClip<'a> = dyn FnMut(
        &mut (dyn FnMut(usize, usize) + Send),
        &(dyn Fn() -> bool + Sync),
    ) -> Result<media::EncodeReport>
    + 'a;

/// SHA-256 of the latents' bytes, hexadecimal.
pub fn hash(latents: &Latents) -> String {
    let mut hasher = Sha256::new();
    hasher.update(latents.video.bytes());
    hasher.update(latents.audio.bytes());
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
