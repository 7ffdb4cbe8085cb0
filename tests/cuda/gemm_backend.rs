//! A GEMM library beside our own kernel. Here it multiplies on the host; its results are as good as the kernel's.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gallop::{
    DType::{self, Bf16, F32},
    Error, Result,
    cuda::{
        Cuda,
        cublaslt::{GemmDesc, OperandType, Operands, OutputType},
        gemm_backend::{GemmAlgorithm, GemmBackend, GemmChoice, GemmPolicy},
    },
    executor::{Executor, Prepare},
    plan::{Builder, Dense, Plan},
    qualify::{Verdict, compare},
    tensor::{Format, e4m3_to_f32},
};
use half::bf16;

use crate::{
    emulate::{Policy, device::Emulated},
    harness::given,
};

/// Multiplies on the host and counts how often it was asked and how often it did.
#[derive(Default)]
pub(crate) struct Host {
    described: AtomicUsize,
    queued: Arc<AtomicUsize>,
    /// Rows of the GEMM that it refuses.
    refuses: Option<usize>,
    /// Whether it refuses FP8.
    only_bf16: bool,
    /// Whether its first algorithm fails when it is enqueued.
    fails_first: bool,
}

impl Host {
    /// One that refuses FP8.
    pub(crate) fn of_bf16() -> Self {
        Self {
            only_bf16: true,
            ..Self::default()
        }
    }
}

impl GemmBackend for Host {
    fn algorithms(
        self: Arc<Self>,
        gemm: &GemmDesc,
        at: &Operands,
    ) -> Result<Vec<Arc<dyn GemmAlgorithm>>> {
        self.described.fetch_add(1, Ordering::Relaxed);
        let is_refused = self.only_bf16 && gemm.operands != OperandType::Bf16;
        if is_refused || self.refuses == Some(gemm.m) {
            return Err(Error::device("refused"));
        }
        let algorithm = OnHost {
            gemm: *gemm,
            at: *at,
            queued: self.queued.clone(),
        };
        let fails = self
            .fails_first
            .then(|| Arc::new(Fails) as Arc<dyn GemmAlgorithm>);
        Ok(fails
            .into_iter()
            .chain([Arc::new(algorithm) as _])
            .collect())
    }
}

struct Fails;

impl GemmAlgorithm for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }

    unsafe fn enqueue(&self) -> Result<()> {
        Err(Error::device("refused when queued"))
    }
}

struct OnHost {
    gemm: GemmDesc,
    at: Operands,
    queued: Arc<AtomicUsize>,
}

impl GemmAlgorithm for OnHost {
    fn name(&self) -> &'static str {
        "host"
    }

    unsafe fn enqueue(&self) -> Result<()> {
        let GemmDesc {
            m,
            n,
            k,
            x_pitch,
            w_pitch,
            y_pitch,
            ..
        } = self.gemm;
        self.queued.fetch_add(1, Ordering::Relaxed);
        let factor = |address: u64, pitch: usize, row: usize| match self.gemm.operands {
            OperandType::Bf16 => elements(address, row * pitch, k, bf16::to_f32),
            OperandType::E4m3 { .. } => elements(address, row * pitch, k, e4m3_to_f32),
        };
        let scale = |address: u64, index: usize| match self.gemm.operands {
            OperandType::Bf16 => 1.0,
            OperandType::E4m3 { .. } => elements(address, index, 1, |scale: f32| scale)[0],
        };
        for row in 0..m {
            let x = factor(self.at.x, x_pitch, row);
            for col in 0..n {
                let w = factor(self.at.w, w_pitch, col);
                let sum: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                let sum = sum * (scale(self.at.x_scales, row) * scale(self.at.w_scales, col));
                let place = row * y_pitch + col;
                match self.gemm.output {
                    OutputType::Bf16 => {
                        let to = (self.at.y as *mut bf16).wrapping_add(place);
                        // SAFETY: as above, for y.
                        unsafe { to.write(bf16::from_f32(sum)) }
                    }
                    OutputType::F32 => {
                        let to = (self.at.y as *mut f32).wrapping_add(place);
                        // SAFETY: as above, for y.
                        unsafe { to.write(sum) }
                    }
                }
            }
        }
        Ok(())
    }
}

fn dense(rows: usize, out: DType) -> Dense {
    Dense {
        rows,
        bias: false,
        weight: Bf16,
        out,
    }
}

/// `count` numbers from element `start` of what lies at `address`.
fn elements<T: Copy>(
    address: u64,
    start: usize,
    count: usize,
    number: impl Fn(T) -> f32,
) -> Vec<f32> {
    let from = (address as *const T).wrapping_add(start);
    // SAFETY: the caller promises rows of this length there; the emulator's memory is the host's.
    let values = unsafe { std::slice::from_raw_parts(from, count) };
    values.iter().map(|&value| number(value)).collect()
}

/// Two GEMMs of three groups of rows, one of them empty, with results of both types.
fn plan() -> Plan {
    let mut p = Builder::new();
    let x = p.input("x", [40, 72], Bf16);
    let ends = [25, 25, 40];
    let h = p.linear("hidden", x, &ends, dense(96, Bf16));
    let y = p.linear("again", h, &ends, dense(50, F32));
    p.output(y);
    p.finish()
}

fn device() -> Arc<Emulated> {
    Arc::new(Emulated::new(Policy::Eager, 1))
}

/// The kernels that a prepared plan runs, unit by unit, where `choice` uses `host`.
fn kernels(plan: &Plan, host: Host, choice: GemmChoice) -> Vec<Vec<&'static str>> {
    let executor = Cuda::new(device()).with_library(GemmPolicy {
        backend: Arc::new(host),
        choice,
    });
    let (weights, _) = given(plan, 3);
    let program = executor.load_and_prepare(plan, &weights, &Prepare::default());
    let report = program.unwrap().report();
    report.units.into_iter().map(|unit| unit.kernels).collect()
}

#[test]
fn groups_of_rows_are_slices_for_the_library() {
    let plan = plan();
    assert_eq!(
        kernels(&plan, Host::default(), GemmChoice::CublasLt),
        [["host"; 2], ["host"; 2]]
    );
    let host = Host::default();
    let queued = host.queued.clone();
    let executor = Cuda::new(device()).with_library(GemmPolicy {
        backend: Arc::new(host),
        choice: GemmChoice::CublasLt,
    });
    let (weights, inputs) = given(&plan, 3);
    let checks = compare(&plan, &weights, &inputs, &executor).unwrap();
    assert!(
        checks.iter().all(|c| c.verdict() == Verdict::Pass),
        "{checks:#?}"
    );
    // Two groups of each GEMM, once to see that it runs.
    assert_eq!(queued.load(Ordering::Relaxed), 8);
}

#[test]
fn products_in_8_bits_have_dense_scales_for_the_library() {
    let mut p = Builder::new();
    let x = p.input("x", [40, 64], Bf16);
    let u = p.linear("up", x, &[24, 40], dense(96, Bf16));
    let a = p.swiglu7("act", u, Bf16);
    let y = p.linear("down", a, &[24, 40], dense(32, Bf16));
    p.output(y);
    let plan = p.finish().quantized(|_| Format::FP8);
    let host = Host::default();
    let queued = host.queued.clone();
    let executor = Cuda::new(device()).with_library(GemmPolicy {
        backend: Arc::new(host),
        choice: GemmChoice::CublasLt,
    });
    let (weights, inputs) = given(&plan, 3);
    let checks = compare(&plan, &weights, &inputs, &executor).unwrap();
    assert!(
        checks.iter().all(|c| c.verdict() == Verdict::Pass),
        "{checks:#?}"
    );
    // Rows with a scale each, and a constant for all; two groups of each, once to see that it runs.
    assert_eq!(queued.load(Ordering::Relaxed), 8);
}

#[test]
fn the_library_computes_by_the_first_way_that_runs() {
    let host = Host {
        fails_first: true,
        ..Host::default()
    };
    assert_eq!(
        kernels(&plan(), host, GemmChoice::CublasLt),
        [["host"; 2]; 2]
    );
}

#[test]
fn a_product_that_a_fused_step_does_not_write_is_not_the_librarys() {
    let mut p = Builder::new();
    let x = p.input("x", [16, 64], Bf16);
    let u = p.linear("up", x, &[16], dense(64, Bf16));
    let y = p.swiglu7("act", u, Bf16);
    p.output(y);
    let fused = [["gemm_bf16_swiglu7"]];
    assert_eq!(
        kernels(&p.finish(), Host::default(), GemmChoice::Auto),
        fused
    );
}

#[test]
fn our_own_kernel_computes_what_nobody_asked_the_library_for_or_it_refuses() {
    let own = [["gemm_bf16"], ["gemm_bf16_f32"]];
    assert_eq!(kernels(&plan(), Host::default(), GemmChoice::Own), own);
    let host = Host {
        refuses: Some(15),
        ..Host::default()
    };
    assert_eq!(kernels(&plan(), host, GemmChoice::CublasLt), own);
}

#[test]
fn the_clock_decides_once_for_each_shape() {
    // On the emulator's clock a launch takes a thousand times as long as anything else.
    let host = Host::default();
    let queued = host.queued.clone();
    let mut p = Builder::new();
    let x = p.input("x", [16, 64], Bf16);
    let h = p.linear("a", x, &[16], dense(64, Bf16));
    let h = p.linear("b", h, &[16], dense(64, Bf16));
    let y = p.linear("c", h, &[16], dense(32, Bf16));
    p.output(y);
    let plan = p.finish();
    assert_eq!(kernels(&plan, host, GemmChoice::Auto), [["host"]; 3]);
    // One run that warms up and three that count, for each of two shapes.
    assert_eq!(queued.load(Ordering::Relaxed), 8);
}
