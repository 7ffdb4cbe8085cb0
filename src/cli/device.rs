//! Which device runs, and how: the switches of every subcommand that runs stages.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::{gemm, terminal, words};
use crate::{
    Result,
    device::{self, Driver, GemmChoice},
    error::Field,
    executor::{Executor, Prepare, Residency},
    pipeline::{AtomicFile, Notice, profile::ConfiguredExecutor},
};

#[derive(Args, Debug)]
pub(super) struct DeviceArguments {
    /// auto, cpu or cuda:N; auto is cuda:0 if it can run the kernels, else the CPU
    #[arg(long, default_value = "auto", env = "GALLOP_DEVICE")]
    pub(super) device: String,
    /// Where the weights are while a GPU runs a network [default: auto]
    #[arg(long, value_enum)]
    residency: Option<Residency>,
    /// On a GPU, launch kernels one by one and not as recorded graphs
    #[arg(long)]
    no_graph: bool,
    /// On a GPU, run every step as a kernel of its own
    #[arg(long)]
    no_fuse: bool,
    /// Measure every launch, write them as a trace for ui.perfetto.dev or chrome://tracing, and print a table by op
    #[arg(long, value_name = "FILE")]
    pub(super) profile: Option<PathBuf>,
    /// Replace existing files
    #[arg(long, help_heading = "File and output")]
    pub(super) force: bool,
}

/// The executor called `name`, where `gemm` computes matrix products on a GPU, and for `auto` which that is and why.
pub(super) fn open_device(
    name: &str,
    gemm: GemmChoice,
) -> Result<(Box<dyn Executor>, Option<String>)> {
    let options = device::Options {
        kernels: kernel_folder(),
        gemm,
        library_files: gemm::files(),
    };
    if name == "auto" {
        let (executor, which) = device::choose(&options);
        return Ok((executor, Some(which)));
    }
    Ok((device::open(name, &options)?, None))
}

/// The GPU called `name`.
pub(super) fn open_gpu(name: &str) -> Result<Arc<Driver>> {
    device::open_gpu(name, kernel_folder().as_deref())
}

/// A folder whose cubins a GPU runs instead of those that were compiled in.
fn kernel_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("GALLOP_KERNEL_DIR")?;
    (!folder.is_empty()).then(|| folder.into())
}

/// Whether GALLOP_SYNC=1 asks for it.
pub(super) fn waits_for_every_step() -> bool {
    std::env::var_os("GALLOP_SYNC").is_some_and(|value| value == "1")
}

impl DeviceArguments {
    /// The switches that change nothing on `executor`.
    pub(super) fn without_effect(&self, executor: &dyn Executor) -> Vec<Notice> {
        let is_cpu = executor.name() == "cpu";
        let given = [
            (Field::Residency, self.residency.is_some()),
            (Field::NoGraph, self.no_graph),
            (Field::NoFuse, self.no_fuse),
        ];
        let given = given
            .into_iter()
            .filter(|(_, is_given)| is_cpu && *is_given);
        given
            .map(|(field, _)| Notice::NoEffect {
                field,
                with: (Field::Device, Some("cpu")),
            })
            .collect()
    }

    /// As [`DeviceArguments::open`], where the switches that change nothing go to standard error too.
    pub(super) fn open_and_say(
        &self,
        says_which: bool,
        gemm: GemmChoice,
    ) -> Result<(ConfiguredExecutor, Option<AtomicFile>)> {
        let opened = self.open(says_which, gemm)?;
        for notice in self.without_effect(&opened.0) {
            terminal::say(&format!("note: {}", words::notice(&notice)));
        }
        Ok(opened)
    }

    /// The device with these switches, and the file of the trace, if one was asked for, to be written by
    /// `profile::write`. With `says_which`, what `auto` chose goes to standard error. On a GPU `gemm` computes matrix
    /// products.
    pub(super) fn open(
        &self,
        says_which: bool,
        gemm: GemmChoice,
    ) -> Result<(ConfiguredExecutor, Option<AtomicFile>)> {
        let create = |path: &PathBuf| AtomicFile::create(path, self.force);
        let trace = self.profile.as_ref().map(create).transpose()?;
        let (executor, which) = open_device(&self.device, gemm)?;
        if let Some(which) = which.filter(|_| says_which) {
            terminal::say(&which);
        }
        let switches = Prepare {
            fuse: !self.no_fuse,
            graph: !self.no_graph,
            profile: self.profile.is_some(),
            sync: waits_for_every_step(),
            weights: self.residency.unwrap_or(Residency::Auto),
            ..Prepare::default()
        };
        Ok((ConfiguredExecutor::new(executor, switches), trace))
    }
}
