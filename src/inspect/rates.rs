//! Rates of kernels on a device: each alone, at the sizes of the model, on random numbers, against the chip's peak. The
//! cases are plans of one op, so that the timed kernels are those that the model runs.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::noise::{NoiseWeights, TABLE_ROWS, noise};
use crate::{
    DType, Error, Result,
    cuda::{
        Cuda, Device,
        cublaslt::{GemmDesc, OperandType, OutputType},
        gemm_backend::GemmBackend,
        measure::{self, L2Flush},
    },
    executor::{Cancel, Executor, Prepare, UnitReport},
    model::dit::{HEAD, Sequence},
    plan::{
        self, Attention, Buf, Builder, Conv3d, Cost, Dense, Grid, Kernel3d, MaskBlock, Plan, Role,
        Scale,
    },
    qualify::cases::RowCase,
    weights::Weights,
};

/// Peak of dense bf16 on Hopper, FLOP/s, by the data sheet; e4m3 has twice that.
const BF16_RATE: f64 = 989e12;
/// Memory bandwidth of the H200, bytes per second, by the data sheet.
const MEMORY_RATE: f64 = 4.8e12;
/// Measured runs of a case that takes longer than this.
const FEW_RUNS: usize = 3;
const LONG_MS: f64 = 100.0;
/// The measured sizes.
pub struct RateShapes {
    /// Rows m of the GEMMs.
    pub rows: &'static [usize],
    /// Name, n and k of the GEMMs of a layer.
    pub gemms: &'static [(&'static str, usize, usize)],
    /// Latent sizes whose attention is measured.
    pub grids: &'static [Grid],
    /// Audio and text tokens in addition.
    pub beside: [usize; 2],
    /// Query heads; there is one key head for five of them.
    pub heads: usize,
    /// Row ops.
    pub row_cases: &'static [RowCase],
    /// Channels, frames, rows and columns of 3x3x3 convolutions.
    pub convolutions: &'static [[usize; 4]],
    /// Bytes of a copy.
    pub copy_bytes: usize,
    /// Bytes that are filled before each measurement to flush L2: several times its size.
    pub flush_bytes: usize,
    /// Measured runs of cases shorter than a tenth of a second; the median counts.
    pub runs: usize,
}

/// The published model at 1080p, 540p and 256p.
pub const PUBLISHED: RateShapes = RateShapes {
    rows: &[66_048, 17_088, 4352],
    gemms: &[
        ("qkv", 7208, 5120),
        ("proj", 5120, 5120),
        ("up_gate swiglu7", 27_304, 5120),
        ("down swiglu7", 5120, 13_652),
        ("up gelu7", 20_480, 5120),
        ("down gelu7", 5120, 20_480),
    ],
    grids: &[
        Grid::new(32, 68, 120),
        Grid::new(32, 34, 60),
        Grid::new(32, 16, 28),
    ],
    beside: [126, 640],
    heads: 40,
    row_cases: crate::qualify::cases::BENCHES,
    convolutions: &[
        [512, 9, 68, 120],
        [256, 18, 136, 240],
        [128, 36, 136, 240],
        [64, 36, 272, 480],
    ],
    copy_bytes: 1 << 28,
    flush_bytes: 1 << 28,
    runs: 20,
};

/// The time of a case.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// `gemm/…`, `attention/…`, `rows/…`, `convolution/…` or `copy/…`.
    #[serde(rename = "case")]
    pub name: String,
    /// The kernels that ran.
    pub kernels: Vec<&'static str>,
    /// Measured runs.
    pub runs: usize,
    /// The median, milliseconds.
    pub median_ms: f64,
    /// The shortest, milliseconds.
    pub least_ms: f64,
    /// Floating-point operations, if they bound it.
    pub flops: f64,
    /// Bytes that must be moved at least.
    pub bytes: f64,
    /// The least milliseconds by the data sheet's peaks.
    pub floor_ms: f64,
}

impl Rate {
    fn of(
        name: String,
        kernels: Vec<&'static str>,
        times: &mut [f64],
        [flops, bytes, peak]: [f64; 3],
    ) -> Self {
        times.sort_by(f64::total_cmp);
        Self {
            name,
            kernels,
            runs: times.len(),
            median_ms: times[times.len() / 2],
            least_ms: times[0],
            flops,
            bytes,
            floor_ms: (flops / peak).max(bytes / MEMORY_RATE) * 1e3,
        }
    }
}

/// The device that is measured, with its GEMM library if there is one.
pub struct RateTarget {
    /// The GPU.
    pub device: Arc<dyn Device>,
    /// The GEMM library.
    pub library: Option<Arc<dyn GemmBackend>>,
}

/// Measures every case whose name contains `filter` and passes its rate, or its error, to `each` as it comes.
///
/// # Errors
/// [`Error::Interrupted`]; those of `each`; [`Error::Memory`] if the L2 flush cannot be allocated.
pub fn measure(
    target: &RateTarget,
    sizes: &RateShapes,
    filter: &str,
    cancel: &Cancel,
    each: &mut dyn FnMut(&str, Result<Rate>) -> Result<()>,
) -> Result<()> {
    let flush = L2Flush::new(&*target.device, sizes.flush_bytes)?;
    for (name, case) in cases(sizes) {
        cancel.check()?;
        if !name.contains(filter) || (case.is_library() && target.library.is_none()) {
            continue;
        }
        each(&name, case.measure(target, &flush, &name, sizes.runs))?;
    }
    Ok(())
}

enum Case {
    /// The units of a plan whose op contains `only`; an empty one selects all but those that make inputs.
    Plan {
        make: Box<dyn Fn() -> Plan>,
        only: &'static str,
        peak: f64,
    },
    Library(GemmDesc),
    Copy {
        which: usize,
        bytes: usize,
    },
}

type Make = fn(usize, usize, usize) -> Plan;

fn cases(sizes: &'_ RateShapes) -> Vec<(String, Case)> {
    let mut cases: Vec<(String, Case)> = Vec::new();
    for &m in sizes.rows {
        for &(name, n, k) in sizes.gemms {
            for (kind, peak, make) in [
                ("bf16", BF16_RATE, gemm as Make),
                ("bf16 with swiglu7", BF16_RATE, gated_gemm),
                ("fp8", 2.0 * BF16_RATE, scaled_gemm),
            ] {
                let case = Case::Plan {
                    make: Box::new(move || make(m, n, k)),
                    only: "linear",
                    peak,
                };
                if kind != "bf16 with swiglu7" || name.starts_with("up_gate") {
                    cases.push((format!("gemm/{name} {m}x{n}x{k}, own {kind}"), case));
                }
            }
            for (kind, operands) in [
                ("bf16", OperandType::Bf16),
                ("fp8", OperandType::E4m3 { fast: false }),
                ("fp8 fast", OperandType::E4m3 { fast: true }),
            ] {
                let name = format!("gemm/{name} {m}x{n}x{k}, cublaslt {kind}");
                cases.push((name, Case::Library(gemm_desc(m, n, k, operands))));
            }
        }
    }
    for &grid in sizes.grids {
        let tokens = Sequence {
            grid,
            audio: sizes.beside[0],
            text: sizes.beside[1],
        };
        for (kind, windows) in [("full", tokens.full()), ("local", tokens.local(11))] {
            let (len, heads) = (tokens.len(), sizes.heads);
            let case = Case::Plan {
                make: Box::new(move || attention(len, heads, windows.clone())),
                only: "attention",
                peak: BF16_RATE,
            };
            cases.push((format!("attention/{kind} of {len} tokens"), case));
        }
    }
    for &case in sizes.row_cases {
        let name = format!("rows/{:?} {}x{}", case.op, case.rows(), case.cols);
        cases.push((name, Case::of(move || case.plan().0)));
    }
    for &shape in sizes.convolutions {
        let [channels, frames, rows, cols] = shape;
        let name = format!("convolution/{channels} channels {frames}x{rows}x{cols}");
        cases.push((name, Case::of(move || convolution(shape))));
    }
    let bytes = sizes.copy_bytes;
    for (which, name) in COPIES.iter().enumerate() {
        cases.push((format!("copy/{name}"), Case::Copy { which, bytes }));
    }
    cases
}

const COPIES: [&str; 4] = [
    "pinned host to device",
    "device to device",
    "pinned host to device, meanwhile device to device",
    "device to device, meanwhile pinned host to device",
];

/// `[rows, cols]` in bf16, gathered from a table on the device, so that no large tensor is copied to it.
fn made(p: &mut Builder, name: &str, rows: usize, cols: usize) -> Buf {
    let ids = p.input(&format!("{name}.ids"), [rows], DType::I32);
    p.embed(name, ids, [TABLE_ROWS.min(rows), cols], 1.0, DType::Bf16)
}

fn gemm(m: usize, n: usize, k: usize) -> Plan {
    let mut p = Builder::new();
    let x = made(&mut p, "x", m, k);
    p.linear("y", x, &[m], dense(n));
    p.finish()
}

fn dense(rows: usize) -> Dense {
    Dense {
        rows,
        bias: false,
        weight: DType::Bf16,
        out: DType::Bf16,
    }
}

fn gated_gemm(m: usize, n: usize, k: usize) -> Plan {
    let mut p = Builder::new();
    let x = made(&mut p, "x", m, k);
    let u = p.linear("u", x, &[m], dense(n));
    p.swiglu7("y", u, DType::Bf16);
    p.finish()
}

fn scaled_gemm(m: usize, n: usize, k: usize) -> Plan {
    let mut p = Builder::new();
    let x = made(&mut p, "x", m, k);
    let scale = Scale::Rows(p.row_scale("s", x));
    let q = p.quantize("q", x, scale);
    p.scaled_linear("y", q, scale, &[m], (n, DType::Bf16));
    p.finish()
}

fn attention(tokens: usize, heads: usize, windows: Vec<MaskBlock>) -> Plan {
    let mut p = Builder::new();
    let kv_heads = heads.div_ceil(5);
    let q = made(&mut p, "q", tokens, heads * HEAD);
    let [k, v] = ["k", "v"].map(|name| made(&mut p, name, tokens, kv_heads * HEAD));
    let op = Attention {
        heads,
        kv_heads,
        scale: 1.0 / (HEAD as f32).sqrt(),
        softcap: None,
        windows,
    };
    p.attention("y", [q, k, v], op, DType::Bf16);
    p.finish()
}

fn convolution([channels, frames, rows, cols]: [usize; 4]) -> Plan {
    let mut p = Builder::new();
    let x = p.input("x", [frames, rows, cols, channels], DType::Bf16);
    let kernel = Kernel3d {
        shape: &[channels, channels, 3, 3, 3],
        conv: Conv3d::same([3; 3], 1, 1, plan::PaddingMode::Replicate),
        weight: DType::Bf16,
        out: DType::Bf16,
    };
    p.conv3d("y", x, kernel);
    p.finish()
}

/// The library's GEMMs need rows of a multiple of 16 bytes.
fn gemm_desc(m: usize, n: usize, k: usize, operands: OperandType) -> GemmDesc {
    let unit = if operands == OperandType::Bf16 { 8 } else { 16 };
    let (n, k) = (n.next_multiple_of(8), k.next_multiple_of(unit));
    GemmDesc {
        m,
        n,
        k,
        x_pitch: k,
        w_pitch: k,
        y_pitch: n,
        operands,
        output: OutputType::Bf16,
    }
}

impl Case {
    /// All units of a plan.
    fn of(make: impl Fn() -> Plan + 'static) -> Self {
        Self::Plan {
            make: Box::new(make),
            only: "",
            peak: BF16_RATE,
        }
    }

    fn is_library(&self) -> bool {
        matches!(self, Self::Library(_))
    }

    fn measure(
        &self,
        target: &RateTarget,
        flush: &L2Flush,
        name: &str,
        runs: usize,
    ) -> Result<Rate> {
        match self {
            Self::Plan { make, only, peak } => {
                let (plan, what) = (make(), (name, *only, *peak));
                measure_plan((&target.device, flush), what, &plan, runs)
            }
            Self::Library(gemm) => {
                let Some(library) = &target.library else {
                    return Err(Error::device("there is no GEMM library"));
                };
                let times = measure::gemm_times(&*target.device, library, gemm, flush, runs)?;
                let mut times: Vec<f64> = times.into_iter().map(f64::from).collect();
                let [m, n, k] = [gemm.m, gemm.n, gemm.k].map(|size| size as f64);
                let (size, peak) = match gemm.operands {
                    OperandType::Bf16 => (2.0, BF16_RATE),
                    OperandType::E4m3 { .. } => (1.0, 2.0 * BF16_RATE),
                };
                let work = [2.0 * m * n * k, (m + n) * k * size + m * n * 2.0, peak];
                Ok(Rate::of(name.into(), vec!["cublaslt"], &mut times, work))
            }
            &Self::Copy { which, bytes } => {
                let all = measure::copy_times(&*target.device, bytes, flush, runs)?;
                let mut times: Vec<f64> =
                    all.times[which].iter().map(|&ms| f64::from(ms)).collect();
                // On the device each byte is read and written.
                let moved = all.bytes as f64 * if which % 2 == 1 { 2.0 } else { 1.0 };
                let work = [0.0, moved, BF16_RATE];
                Ok(Rate::of(name.into(), Vec::new(), &mut times, work))
            }
        }
    }
}

/// The time of the units that [`Case::Plan`] selects; an [`Op::Embed`] makes an input.
fn measure_plan(
    (device, flush): (&Arc<dyn Device>, &L2Flush),
    (name, only, peak): (&str, &str, f64),
    plan: &Plan,
    mut runs: usize,
) -> Result<Rate> {
    let weights = Weights::new(Box::new(NoiseWeights::of(plan)));
    let how = Prepare {
        profile: true,
        ..Prepare::default()
    };
    let mut program = Cuda::new(device.clone()).load_and_prepare(plan, &weights, &how)?;
    for buf in plan.handles() {
        let spec = plan.spec(buf);
        if spec.role == Role::Input && spec.part.is_none() {
            program.write(buf, &noise(spec.shape.clone(), spec.dtype))?;
        }
    }
    let is_measured = |unit: &&UnitReport| unit.op.contains(only) && unit.op != "embed";
    let mut times: Vec<f64> = Vec::new();
    while times.len() <= runs {
        flush.enqueue(&**device)?;
        program.run()?;
        let units = program.report().units;
        let last = units
            .iter()
            .filter(is_measured)
            .map(|unit| unit.times[times.len()]);
        let ms = last.sum::<Duration>().as_secs_f64() * 1e3;
        times.push(ms);
        if ms > LONG_MS {
            runs = runs.min(FEW_RUNS);
        }
    }
    let units = program.report().units;
    let measured = || units.iter().filter(is_measured);
    let cost: Cost = measured().map(|unit| unit.cost).sum();
    let kernels = measured().flat_map(|unit| unit.kernels.clone()).collect();
    // The first run warms up.
    let work = [cost.flops, cost.bytes(), peak];
    Ok(Rate::of(name.into(), kernels, &mut times[1..], work))
}
