//! `gallop plan`: the time and memory that a clip would take. Builds plans, loads no weights, runs none of them.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{
    precision::PrecisionArgument,
    terminal::{self, human_seconds},
    words,
};
use crate::{
    Error, Result, device,
    error::{Field, Hint, human_bytes},
    executor::Prepare,
    inspect::estimate::{
        CpuSpec, Estimate, GpuSpec, Machine, ResidencyPlan, Scenario, StageEstimate, Work,
        estimate, stages,
    },
    pipeline::{
        Notice, QuantizationPolicy, Stage, conditions, miniature,
        networks::ModelConfigs,
        request::{BaseVariant, Job, Request, Size, VideoDecoder, resolve},
    },
    plan::Plan,
    weights::folder,
};

const AFTER_HELP: &str = "\
Examples:
  gallop plan --size 1080p --gpu h100
  gallop plan --size 540p --gpu rtx4090 --precision fp8
  gallop plan --gpu-memory 48 --gpu-bandwidth 864
  gallop plan --device cpu --size 256p --seconds 2
  gallop plan --model miniature --text base
  gallop plan --model /models/gallop --json

Without --model the published 15B model is planned. Memory is what the device's executor would allocate. \
Times are estimates; the last line says what they rest on.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Sizes of the networks: a folder with a model, `miniature`, or the published ones
    #[arg(
        long,
        value_name = "DIR",
        env = "GALLOP_MODEL",
        default_value = "published"
    )]
    model: NetworksChoice,
    #[command(flatten)]
    lengths: LengthArguments,
    /// Steps of the base pass [default: the variant's]
    #[arg(long)]
    steps: Option<usize>,
    /// Network that makes the frames
    #[arg(long, value_enum, default_value_t = VideoDecoder::Turbo)]
    decoder: VideoDecoder,
    #[command(flatten)]
    precision: PrecisionArgument,
    /// cpu: this machine, whose speed is measured, instead of a GPU
    #[arg(long, value_parser = ["cpu"], conflicts_with_all = ["gpu", "gpu_memory", "gpu_tflops", "gpu_bandwidth"])]
    device: Option<String>,
    /// The GPU
    #[arg(long, default_value = "h100", value_parser = GpuSpec::NAMES)]
    gpu: String,
    /// Its memory in GB, instead of the named one's
    #[arg(long, value_name = "GB")]
    gpu_memory: Option<f64>,
    /// Its dense bf16 peak in TFLOP/s; fp8 counts double
    #[arg(long, value_name = "TFLOPS")]
    gpu_tflops: Option<f64>,
    /// Its memory rate in GB/s
    #[arg(long, value_name = "GB/S")]
    gpu_bandwidth: Option<f64>,
    /// Print the plan of one stage instead
    #[arg(long, value_enum, value_name = "STAGE")]
    #[arg(conflicts_with_all = ["device", "gpu", "gpu_memory", "gpu_tflops", "gpu_bandwidth"])]
    text: Option<Stage>,
    /// Print JSON
    #[arg(long, conflicts_with = "text")]
    json: bool,
}

/// What decides how long a sequence is, for subcommands that make no clip.
#[derive(Args, Debug)]
pub(super) struct LengthArguments {
    /// 256p, 540p, 1080p or WIDTHxHEIGHT [default: the model's, 1080p for the published one]
    #[arg(long, value_parser = str::parse::<Size>)]
    size: Option<Size>,
    /// Length of the clip, up to 10; a clip has 4 n + 1 frames at 25 per second [default: the model's]
    #[arg(long, value_parser = length, allow_hyphen_values = true)]
    seconds: Option<f64>,
    /// Network of the base pass
    #[arg(long, value_enum, default_value_t = BaseVariant::Distill)]
    variant: BaseVariant,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u16).range(1..=8192))]
    pub(super) text_tokens: u16,
}

impl LengthArguments {
    pub(super) fn request(&self) -> Request {
        Request {
            size: self.size,
            seconds: self.seconds,
            seed: Some(0),
            variant: self.variant,
            ..Request::default()
        }
    }
}

/// A number of seconds.
pub(super) fn length(text: &str) -> Result<f64, String> {
    let problem = |_| "must be a number of seconds, such as 2 or 1.5".to_string();
    text.parse().map_err(problem)
}

/// Source of network sizes: a name or a folder.
#[derive(Clone, Debug)]
pub(super) enum NetworksChoice {
    Published,
    Miniature,
    Folder(PathBuf),
}

impl From<String> for NetworksChoice {
    fn from(text: String) -> Self {
        match text.as_str() {
            "published" => Self::Published,
            "miniature" => Self::Miniature,
            _ => Self::Folder(text.into()),
        }
    }
}

impl NetworksChoice {
    pub(super) fn open(&self) -> Result<ModelConfigs> {
        match self {
            Self::Published => Ok(ModelConfigs::published()),
            Self::Miniature => Ok(miniature::networks()),
            Self::Folder(dir) => ModelConfigs::of(&folder::find(dir)?),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let networks = arguments.model.open()?;
    let request = Request {
        steps: arguments.steps,
        ..arguments.lengths.request()
    };
    let job = resolve(&request, networks.defaults, None)?;
    let scenario = Scenario {
        text_tokens: arguments.lengths.text_tokens.into(),
        variant: request.variant,
        steps: request.steps,
        decoder: arguments.decoder,
        policy: arguments.precision.formats.clone(),
    };
    let sr = job.sr.map(|(variant, _)| variant.network());
    for pass in [Some(request.variant.network()), sr].into_iter().flatten() {
        let properties = &networks.dit(pass).properties;
        conditions::check_placed(pass, properties, "prompt", scenario.text_tokens)?;
    }
    job.notices
        .iter()
        .for_each(|notice| terminal::say(&format!("note: {}", words::notice(notice))));
    let work = stages(&networks, &job, &scenario)?;
    if let Some(stage) = arguments.text {
        return terminal::print(&find(stage, work)?.calls[0].plan.to_string());
    }
    let estimate = match arguments.device {
        Some(_) => estimate_on_cpu(&work)?,
        None => estimate(&work, Machine::Gpu(gpu(arguments)?), &device::needs),
    };
    let what = (&networks, &job, &scenario.policy);
    terminal::answer(
        arguments.json,
        || json(what, &estimate),
        || text(what, &estimate),
    )
}

/// What `work` takes on this machine's CPU.
pub(super) fn estimate_on_cpu(work: &[Work]) -> Result<Estimate> {
    let cpu = device::open("cpu", &device::Options::default())?;
    let machine = Machine::Cpu(CpuSpec::measure(&*cpu)?);
    let needs = |plan: &Plan| cpu.check(plan, &Prepare::default());
    Ok(estimate(work, machine, &needs))
}

/// The named GPU, with the given numbers replacing its own.
fn gpu(arguments: &Arguments) -> Result<GpuSpec> {
    let mut gpu = GpuSpec::named(&arguments.gpu).expect("clap accepts no other name");
    let positive = |field, value: Option<f64>| match value {
        Some(value) if !(value > 0.0 && value < 1e6) => {
            Err(Error::request(field, "must be above 0 and below a million").found(value))
        }
        value => Ok(value),
    };
    let memory = positive(Field::GpuMemory, arguments.gpu_memory)?;
    let tflops = positive(Field::GpuTflops, arguments.gpu_tflops)?;
    let bandwidth = positive(Field::GpuBandwidth, arguments.gpu_bandwidth)?;
    if [memory, tflops, bandwidth].iter().any(Option::is_some) {
        gpu.name = format!("{} with other numbers", gpu.name);
    }
    if let Some(gigabytes) = memory {
        gpu.memory_bytes = (gigabytes * 1e9) as u64;
    }
    if let Some(tflops) = tflops {
        (gpu.bf16_flops, gpu.fp8_flops) = (tflops * 1e12, 2.0 * tflops * 1e12);
    }
    gpu.bandwidth = bandwidth.map_or(gpu.bandwidth, |rate| rate * 1e9);
    Ok(gpu)
}

/// The work of `stage`.
pub(super) fn find(stage: Stage, work: Vec<Work>) -> Result<Work> {
    let found = work.into_iter().find(|work| work.stage == stage);
    found.ok_or_else(|| {
        let error = Error::request(Field::Size, "must have the stage sr, super-resolution");
        error.with_hint(Hint::Set(Field::Size, "540p or 1080p"))
    })
}

/// Networks, job and precision of a stage.
type What<'a> = (&'a ModelConfigs, &'a Job, &'a QuantizationPolicy);

fn text((networks, job, formats): What<'_>, estimate: &Estimate) -> String {
    let (width, height) = job.pixels();
    let machine = match &estimate.machine {
        Machine::Gpu(gpu) => format!("{} ({})", gpu.name, human_bytes(gpu.memory_bytes)),
        Machine::Cpu(cpu) => format!(
            "this CPU ({} threads, {} free)",
            cpu.threads,
            human_bytes(cpu.free_bytes)
        ),
    };
    let mut text = format!(
        "{}, {width}x{height}, {} frames in {:.2} s, {} audio tokens; precision {formats} on {machine}\n\n",
        networks.name,
        job.frames(),
        job.seconds(),
        job.audio_tokens,
    );
    text.push_str(&format!(
        "{:17} {:8} {:>8} {:>5} {:>9} {:>10} {:>10} {:>10} {:>10}\n",
        "stage", "network", "tokens", "runs", "TFLOP", "moved", "arena", "weights", "time"
    ));
    for stage in &estimate.stages {
        let tokens: Vec<String> = stage.tokens.iter().map(|t| t.all().to_string()).collect();
        text.push_str(&format!(
            "{:17} {:8} {:>8} {:>5} {:>9.2} {:>10} {:>10} {:>10} {:>10}\n",
            stage.stage.name(),
            short(stage.part.key()),
            tokens.join("+"),
            stage.runs,
            stage.flops / 1e12,
            human_bytes(stage.bytes as u64),
            human_bytes(stage.arena_bytes),
            human_bytes(stage.weight_bytes),
            human_seconds(estimate.seconds(stage, estimate.how()))
        ));
    }
    let flops: f64 = estimate.stages.iter().map(|stage| stage.flops).sum();
    text.push_str(&format!(
        "{:17} {:>33.2} {:>43}\n\n",
        "all",
        flops / 1e12,
        human_seconds(estimate.total_seconds())
    ));
    text + &verdict(estimate)
}

fn verdict(estimate: &Estimate) -> String {
    let mut text = String::new();
    let (of, larger) = match &estimate.machine {
        Machine::Gpu(_) => ("GPU memory", "a larger GPU"),
        Machine::Cpu(_) => ("memory beside the files", "more memory"),
    };
    for &how in estimate.machine.residencies() {
        let answer = if estimate.residency == Some(how) {
            "  <- fits"
        } else {
            ""
        };
        let peak = human_bytes(estimate.peak_bytes(how));
        text.push_str(&format!("{:9} {peak:>10} of {of}{answer}\n", how.name()));
    }
    for refusal in &estimate.refusals {
        text.push_str(&format!("cannot run: {refusal}\n"));
    }
    if estimate.residency.is_none() && estimate.refusals.is_empty() {
        text.push_str(&format!(
            "does not fit; take a smaller size, fewer seconds or {larger}\n"
        ));
    }
    let loading = match estimate.how() {
        ResidencyPlan::Resident | ResidencyPlan::Mapped => "loading the weights is not counted",
        ResidencyPlan::Staged => "each network is copied from the host's memory before its stage",
        ResidencyPlan::Streamed => "layers are copied from the host's memory in every run",
    };
    text.push_str(&format!(
        "times are estimates: {}; {loading}; encoding the file is not counted\n",
        estimate.assumptions()
    ));
    text
}

/// Keys of components, shortened to their column.
fn short(key: &str) -> &str {
    match key {
        "text_encoder" => "text",
        "turbo_vae" => "turbo",
        "wan_vae" => "wan",
        "audio_vae" => "audio",
        key => key,
    }
}

fn json((networks, job, formats): What<'_>, estimate: &Estimate) -> Value {
    let (width, height) = job.pixels();
    let peak = |how: ResidencyPlan| (how.name().to_string(), json!(estimate.peak_bytes(how)));
    let all = estimate.machine.residencies().iter();
    let peaks: serde_json::Map<String, Value> = all.copied().map(peak).collect();
    let stages: Vec<Value> = estimate
        .stages
        .iter()
        .map(|stage| stage_json(stage, estimate))
        .collect();
    let mut document = json!({
        "model": networks.name,
        "width": width,
        "height": height,
        "frames": job.frames(),
        "seconds": job.seconds(),
        "audio_tokens": job.audio_tokens,
        "warnings": job.notices.iter().map(words::notice).collect::<Vec<_>>(),
        "warning_codes": job.notices.iter().map(Notice::code).collect::<Vec<_>>(),
        "precision": formats.to_string(),
        "stages": stages,
        "fits": estimate.residency.is_some(),
        "residency": estimate.residency.map(ResidencyPlan::name),
        "refusals": estimate.refusals,
        "peak_bytes": peaks,
        "estimated_seconds": estimate.total_seconds(),
        "assumptions": estimate.assumptions(),
    });
    match &estimate.machine {
        Machine::Gpu(gpu) => {
            document["gpu"] = json!({
                "name": gpu.name,
                "memory_bytes": gpu.memory_bytes,
                "bf16_flops": gpu.bf16_flops,
                "fp8_flops": gpu.fp8_flops,
                "bandwidth": gpu.bandwidth,
                "link": gpu.link,
            });
        }
        Machine::Cpu(cpu) => {
            document["cpu"] = json!({
                "threads": cpu.threads,
                "free_bytes": cpu.free_bytes,
                "flops": cpu.flops,
            });
        }
    }
    document
}

fn stage_json(stage: &StageEstimate, estimate: &Estimate) -> Value {
    let tokens = stage.tokens.iter();
    let tokens: Vec<Value> = tokens
        .map(|t| json!({ "video": t.video, "audio": t.audio, "text": t.text, "all": t.all() }))
        .collect();
    json!({
        "stage": stage.stage.name(),
        "network": stage.part.key(),
        "tokens": tokens,
        "runs": stage.runs,
        "flops": stage.flops,
        "bytes": stage.bytes,
        "arena_bytes": stage.arena_bytes,
        "weight_bytes": stage.weight_bytes,
        "estimated_seconds": estimate.seconds(stage, estimate.how()),
    })
}
