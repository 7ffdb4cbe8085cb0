//! Which device runs, and how: the switches of every subcommand that runs stages.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{gemm::Gemm, profile, terminal};
use crate::{
    Error, Result,
    executor::{Prepare, Residency},
    pipeline::profile::ConfiguredExecutor,
};

#[derive(Args, Debug)]
pub(super) struct DeviceArguments {
    /// auto, cpu or cuda:N; auto is cuda:0 if it can run the kernels, else the CPU
    #[arg(long, default_value = "auto", env = "GALLOP_DEVICE")]
    pub(super) device: String,
    /// Where the weights are while a GPU runs a network
    #[arg(long, value_enum, default_value_t = Weights::Auto)]
    residency: Weights,
    /// On a GPU, launch kernels one by one and not as recorded graphs
    #[arg(long)]
    no_graph: bool,
    /// On a GPU, run every step as a kernel of its own
    #[arg(long)]
    no_fuse: bool,
    /// Measure every launch, write them as a trace for ui.perfetto.dev or chrome://tracing, and print a table by op
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Weights {
    /// On the GPU if they fit, else streamed
    Auto,
    /// On the GPU
    Resident,
    /// Copied layer by layer in every run, each layer while the one before is computed
    Streamed,
}

/// Whether GALLOP_SYNC=1 asks for it.
pub(super) fn waits_for_every_step() -> bool {
    std::env::var_os("GALLOP_SYNC").is_some_and(|value| value == "1")
}

impl DeviceArguments {
    /// The device with these switches; with `says_which`, what `auto` chose goes to standard error. On a GPU `gemm`
    /// computes matrix products.
    pub(super) fn open(&self, says_which: bool, gemm: Gemm) -> Result<ConfiguredExecutor> {
        if let Some(path) = &self.profile {
            // Refused now rather than after the work.
            std::fs::write(path, "").map_err(|e| Error::output_io(path, e))?;
        }
        let (executor, which) = super::open_device(&self.device, gemm)?;
        if let Some(which) = which.filter(|_| says_which) {
            terminal::say(&which);
        }
        let switches = Prepare {
            fuse: !self.no_fuse,
            graph: !self.no_graph,
            profile: self.profile.is_some(),
            sync: waits_for_every_step(),
            weights: match self.residency {
                Weights::Auto => Residency::Auto,
                Weights::Resident => Residency::Resident,
                Weights::Streamed => Residency::Streamed,
            },
            ..Prepare::default()
        };
        Ok(ConfiguredExecutor::new(executor, switches))
    }

    /// Writes the profile, if one was asked for, when everything ran.
    pub(super) fn finish(&self, executor: &ConfiguredExecutor) -> Result<()> {
        let path = self.profile.as_deref();
        path.map_or(Ok(()), |path| profile::write(executor, path))
    }
}
