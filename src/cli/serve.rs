//! `gallop serve`: clips over HTTP.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    device::open_device, plan::NetworksChoice, precision::PrecisionArgument, profile, terminal,
};
use crate::{
    Error, Result,
    device::GemmChoice,
    error::{Field, GivenFile},
    executor::{Cancel, Prepare},
    inspect::estimate::{Scenario, stages},
    jobs::{JobRecord, Jobs, Limits, Operator, PlanShares, Worker},
    pipeline::{
        Keep, Model, Session, Stage,
        profile::ConfiguredExecutor,
        request::{BaseVariant, Job, Request},
    },
    server::{self, Access, Metrics, Site},
};

const AFTER_HELP: &str = "\
Examples:
  gallop serve
  gallop serve --model /models/gallop --device cuda:0
  GALLOP_API_KEY=secret gallop serve \\
      --listen 0.0.0.0:8190 --public-url https://example.com
  curl -F prompt=\"A red ball bounces\" \\
      http://127.0.0.1:8190/v1/videos

Clients of OpenAI's videos API work with http://127.0.0.1:8190/v1 as their base URL.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8190")]
    listen: SocketAddr,
    /// Folder with the model's files [default: the built-in miniature]
    #[arg(long, value_name = "DIR", env = "GALLOP_MODEL")]
    model: Option<PathBuf>,
    /// Network of the base pass
    #[arg(long, value_enum, default_value_t = BaseVariant::Distill)]
    variant: BaseVariant,
    #[command(flatten)]
    precision: PrecisionArgument,
    /// auto, cpu or cuda:N; several, with commas between them, share the queue
    #[arg(
        long,
        visible_alias = "devices",
        value_delimiter = ',',
        default_value = "auto",
        env = "GALLOP_DEVICE"
    )]
    device: Vec<String>,
    /// Folder in which jobs are kept [default: gallop in the user's state folder]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Jobs that may wait
    #[arg(long, value_name = "N", default_value_t = 32)]
    queue: usize,
    /// Hours for which a job is kept after its end
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    keep: u32,
    /// GB that ended jobs may take
    #[arg(long, value_name = "GB", default_value_t = 20)]
    keep_bytes: u32,
    /// GB of the disk that stay free
    #[arg(long, value_name = "GB", default_value_t = 1)]
    min_free: u32,
    /// Seconds for which a running job may go on when the server ends
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    drain: u32,
    /// File with the keys that callers need, one a line; GALLOP_API_KEY is one too
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Let everyone call who reaches the address
    #[arg(long)]
    no_auth: bool,
    /// The URL by which clients know the server
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Answer to DashScope's clients too, at /api/v1
    #[arg(long)]
    dashscope: bool,
    /// Answer to OpenRouter's clients too, at /api/v1/videos
    #[arg(long)]
    openrouter: bool,
    /// Measure each op on a GPU too, which then runs without CUDA graphs, a little slower
    #[arg(long)]
    profile: bool,
    /// The page origin whose scripts may call
    #[arg(long, value_name = "ORIGIN")]
    cors: Option<String>,
}

pub(super) fn run(arguments: &Arguments, cancel: &Cancel) -> Result<()> {
    let keys = arguments.keys()?;
    let is_loopback = arguments.listen.ip().is_loopback();
    if keys.is_empty() && !is_loopback && !arguments.no_auth {
        let expected = "beyond this machine needs GALLOP_API_KEY, --keys FILE or --no-auth";
        return Err(Error::request(Field::Listen, expected).found(arguments.listen));
    }
    let cors = arguments.cors.as_ref().map(|origin| origin.parse());
    let cors = cors.transpose();
    let cors = cors.map_err(|_| Error::request(Field::Cors, "must be a page's origin"))?;
    let workers = arguments.workers()?;
    let session = &workers[0].session;
    let model = session.model();
    let (name, defaults) = (model.short_name(), model.defaults());
    let takes_image_and_audio = model.takes_image_and_audio();
    let variant = arguments.variant.to_possible_value();
    let variant = variant.map_or_else(String::new, |value| value.get_name().into());
    let metrics = Metrics::new(variant, session.device());
    let base = Request {
        variant: arguments.variant,
        formats: arguments.precision.formats.clone(),
        ..Request::default()
    };
    let listener = TcpListener::bind(arguments.listen)
        .map_err(|e| Error::device(format!("cannot listen on {}: {e}", arguments.listen)))?;
    let address = listener.local_addr().unwrap_or(arguments.listen);
    let operator: Arc<dyn Operator> = Arc::new(Terminal(metrics.clone()));
    let jobs = Jobs::open(
        &arguments.state()?,
        workers,
        &base,
        &arguments.shares()?,
        arguments.limits(),
        &operator,
    )?;
    terminal::print(&format!("http://{address}\n"))?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let access = Access::new(address, &keys, arguments.public_url.clone());
    let patience = Duration::from_secs(arguments.drain.into());
    let draining = jobs.clone();
    let cancel = cancel.clone();
    thread::spawn(move || {
        while !cancel.is_cancelled() {
            thread::sleep(Duration::from_millis(50));
        }
        draining.drain(patience);
        // Nobody listens any more if the server has failed.
        let _ = stop.send(true);
    });
    let site = Site {
        access,
        model: name,
        takes_image_and_audio,
        defaults,
        cors,
        metrics,
        dashscope: arguments.dashscope,
        openrouter: arguments.openrouter,
    };
    server::serve(listener, &jobs, site, stopped)
}

/// Tells the operator on the terminal, and counts.
struct Terminal(Arc<Metrics>);

impl Operator for Terminal {
    fn say(&self, line: &str) {
        terminal::say(line);
    }

    fn ended(&self, record: &JobRecord) {
        self.0.ended(record);
    }
}

impl Arguments {
    /// A worker for each device.
    fn workers(&self) -> Result<Vec<Worker>> {
        let mut workers = Vec::new();
        for device in &self.device {
            if self.device.iter().filter(|other| *other == device).count() > 1 {
                return Err(
                    Error::request(Field::Device, "must name each device once").found(device)
                );
            }
            let model = match &self.model {
                Some(dir) => Model::open(dir)?,
                None => Model::miniature(),
            };
            let (executor, which) = open_device(device, GemmChoice::Own)?;
            which.inspect(|which| terminal::say(which));
            let profile = self.profile || executor.name() == "cpu";
            let switches = Prepare {
                profile,
                ..Prepare::default()
            };
            let executor = Arc::new(ConfiguredExecutor::new(executor, switches));
            workers.push(Worker {
                session: Session::new(executor.clone(), model, Keep::weights(u64::MAX)),
                ops: Box::new(move || profile::take_rows(&executor)),
            });
        }
        Ok(workers)
    }

    fn keys(&self) -> Result<Vec<String>> {
        const MAX_BYTES: u64 = 1 << 20;
        let text = self.keys.as_ref();
        let text = text
            .map(|path| GivenFile::Input.read_text(path, MAX_BYTES))
            .transpose()?;
        let of_file = text.as_deref().unwrap_or_default().lines().map(str::trim);
        let own = std::env::var("GALLOP_API_KEY").unwrap_or_default();
        let all = of_file.chain([own.trim()]).filter(|key| !key.is_empty());
        Ok(all.map(Into::into).collect())
    }

    fn limits(&self) -> Limits {
        const GB: u64 = 1_000_000_000;
        Limits {
            waiting: self.queue,
            keep: Duration::from_secs(3600 * u64::from(self.keep)),
            keep_bytes: GB * u64::from(self.keep_bytes),
            min_free: GB * u64::from(self.min_free),
        }
    }

    fn state(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.state {
            return Ok(folder.clone());
        }
        let of = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = of("XDG_STATE_HOME").or_else(|| Some(of("HOME")?.join(".local/state")));
        let folder = folder
            .ok_or_else(|| Error::request(Field::State, "must be given: there is no HOME"))?;
        Ok(folder.join("gallop"))
    }

    /// The shares of stages by what a CPU would take, which is near enough for a bar.
    fn shares(&self) -> Result<PlanShares> {
        let choice = self
            .model
            .clone()
            .map_or(NetworksChoice::Miniature, NetworksChoice::Folder);
        let networks = choice.open()?;
        Ok(Arc::new(move |request: &Request, job: &Job| {
            let scenario = Scenario {
                text_tokens: 1 + request.prompt.len() / 4,
                variant: request.variant,
                steps: request.steps,
                decoder: request.decoder,
                policy: request.formats.clone(),
            };
            let work = stages(&networks, job, &scenario).unwrap_or_default();
            let flops = |stage: &crate::inspect::estimate::Work| {
                let calls = stage.calls.iter();
                let flops = calls.map(|call| call.runs as f64 * call.plan.total_cost().flops);
                // Convolutions with few channels are far from the peak everywhere.
                let slow = if stage.stage == Stage::DecodeVideo {
                    2.5
                } else {
                    1.0
                };
                (stage.stage, slow * flops.sum::<f64>())
            };
            work.iter().map(flops).collect()
        }))
    }
}
