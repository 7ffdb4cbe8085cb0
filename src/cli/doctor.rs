//! `gallop doctor`: what this machine and this build offer, a line each, with the fix for what is missing.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{device::open_device, gemm, terminal, words};
use crate::{Result, device, error::human_bytes};

const AFTER_HELP: &str = "\
Examples:
  gallop doctor
  gallop doctor --json";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Folder with the model's files
    #[arg(long, value_name = "DIR", env = "GALLOP_MODEL")]
    model: Option<PathBuf>,
}

/// What was found, and what to do about it.
type Finding = (String, Option<&'static str>);

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let findings: [(&str, Finding); 10] = [
        ("version", (env!("CARGO_PKG_VERSION").into(), None)),
        ("cpu", cpu()),
        ("vectors", features()),
        ("memory", memory()),
        ("gpu", gpu()),
        ("kernels", (device::build_note().into(), None)),
        ("cublaslt", library()),
        ("device", (chosen(), None)),
        ("ffmpeg", ffmpeg()),
        ("model", model(arguments)),
    ];
    if arguments.json {
        let entries = findings.iter().map(
            |(name, (found, advice))| json!({ "name": name, "found": found, "advice": advice }),
        );
        let entries: Vec<Value> = entries.collect();
        return terminal::print_json(&json!({ "findings": entries }));
    }
    let line = |(name, (found, advice)): &(&str, Finding)| match advice {
        None => format!("{name:9} {found}\n"),
        Some(advice) => format!("{name:9} {found}; {advice}\n"),
    };
    terminal::print(&findings.iter().map(line).collect::<String>())
}

fn cpu() -> Finding {
    let model =
        field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    (format!("{model}, {threads} threads"), None)
}

#[cfg(target_arch = "x86_64")]
fn features() -> Finding {
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    let found: Vec<&str> = features
        .iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| *name)
        .collect();
    match found.as_slice() {
        [] => (
            "neither AVX2 nor AVX-512".into(),
            Some("the CPU path works, several times slower"),
        ),
        found => (found.join(", "), None),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Finding {
    (std::env::consts::ARCH.into(), None)
}

fn memory() -> Finding {
    let bytes = |field| device::bytes_of("/proc/meminfo", field);
    match (bytes("MemTotal:"), bytes("MemAvailable:")) {
        (Some(total), Some(free)) => {
            let found = format!("{}, {} free", human_bytes(total), human_bytes(free));
            (found, None)
        }
        _ => ("unknown: /proc/meminfo cannot be read".into(), None),
    }
}

fn gpu() -> Finding {
    match device::gpu() {
        Ok(gpu) => {
            let (major, minor) = gpu.compute_capability;
            let (newest, point) = gpu.driver_version;
            let found = format!(
                "{}, {}, compute capability {major}.{minor}, driver for CUDA up to {newest}.{point}",
                gpu.name,
                human_bytes(gpu.memory_bytes)
            );
            (found, None)
        }
        Err(why) => (
            why,
            Some("the CPU is used; for a GPU install NVIDIA's driver"),
        ),
    }
}

fn library() -> Finding {
    match device::open_library(&gemm::files()) {
        Ok(version) => {
            let (major, minor) = (version / 10_000, version / 100 % 100);
            (format!("{major}.{minor}"), None)
        }
        Err(why) => (
            words::error(&why),
            Some("only --gemm cublaslt and auto of `dev bench` and `dev compare` use it"),
        ),
    }
}

/// What `--device auto` takes.
fn chosen() -> String {
    match open_device("auto", device::GemmChoice::Own) {
        Ok((executor, which)) => which.unwrap_or_else(|| executor.name()),
        Err(error) => words::error(&error),
    }
}

fn ffmpeg() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("ffmpeg"))
        .find(|file| file.is_file());
    match found {
        Some(file) => (file.display().to_string(), None),
        None => (
            "none on PATH".into(),
            Some("only --encoder x264 needs it; the encoder inside this program does not"),
        ),
    }
}

fn model(arguments: &Arguments) -> Finding {
    match &arguments.model {
        Some(dir) if dir.is_dir() => {
            let advice = "`gallop inspect` says what it suffices for";
            (dir.display().to_string(), Some(advice))
        }
        Some(dir) => (
            format!("{} is no folder", dir.display()),
            Some("correct --model or GALLOP_MODEL"),
        ),
        None => (
            "the built-in miniature".into(),
            Some("set GALLOP_MODEL to a folder with model files for real clips"),
        ),
    }
}

/// The value of the first line `field : value` of a system file.
fn field_of(file: &str, field: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == field)?;
    Some(value.trim().into())
}
