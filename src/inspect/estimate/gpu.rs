//! A roofline model: a GPU as four rates and a memory size, and the time of a plan on it.
//!
//! Every step takes the larger of two times: its arithmetic at a share of the peak rate, its bytes at a share of the
//! memory bandwidth. The shares are those of good public kernels; every estimate states them
//! ([`super::Estimate::assumptions`]). Nothing is fused, so the bytes are an upper bound.

use crate::{
    DType,
    plan::{Cost, Op, Plan, Role, Scaling},
};

/// Share of the bf16 peak that GEMMs reach.
const LINEAR_BF16: f64 = 0.73;
/// Share of the fp8 peak that GEMMs reach.
const LINEAR_FP8: f64 = 0.66;
/// Share of the bf16 peak that attention reaches.
const ATTENTION: f64 = 0.69;
/// Share of the bf16 peak that convolutions reach.
const CONVOLUTION: f64 = 0.53;
/// Share of the memory bandwidth that everything else reaches.
const BANDWIDTH: f64 = 0.88;
/// A GEMM in f32 costs three in bf16.
const F32_PRODUCTS: f64 = 3.0;
/// A convolution in f32 runs without tensor cores, whose bf16 peak is this much higher.
const F32_CONVOLUTION: f64 = 16.0;
/// Launch overhead of a step, seconds.
const LAUNCH: f64 = 3e-6;

/// The figures of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSpec {
    /// Its name.
    pub name: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Dense bf16 peak, FLOP/s.
    pub bf16_flops: f64,
    /// Dense fp8 peak, FLOP/s; that of bf16 where there is no fp8 arithmetic.
    pub fp8_flops: f64,
    /// Memory bandwidth, bytes/s.
    pub bandwidth: f64,
    /// Bandwidth from host memory, bytes/s.
    pub link: f64,
}

impl GpuSpec {
    /// Names that [`GpuSpec::named`] knows.
    pub const NAMES: [&str; 4] = ["h100", "h200", "a100-80", "rtx4090"];

    /// A GPU by name, with the vendor's figures; `None` for an unknown name.
    pub fn named(name: &str) -> Option<Self> {
        let (gigabytes, bf16, fp8, bandwidth, link) = match name {
            "h100" => (80, 989.0, 1979.0, 3.35, 50.0),
            "h200" => (141, 989.0, 1979.0, 4.8, 50.0),
            "a100-80" => (80, 312.0, 312.0, 2.04, 25.0),
            "rtx4090" => (24, 165.0, 330.0, 1.01, 25.0),
            _ => return None,
        };
        Some(Self {
            name: name.into(),
            memory_bytes: gigabytes * 1_000_000_000,
            bf16_flops: bf16 * 1e12,
            fp8_flops: fp8 * 1e12,
            bandwidth: bandwidth * 1e12,
            link: link * 1e9,
        })
    }
}

impl GpuSpec {
    /// The GPU of a device's name; `None` for the CPU and for GPUs with unknown figures.
    pub fn of_device(name: &str) -> Option<Self> {
        let known = [("H200", "h200"), ("H100", "h100")];
        let found = known.into_iter().find(|(part, _)| name.contains(part));
        found.and_then(|(_, name)| Self::named(name))
    }

    /// The least seconds that the peak rates allow for `cost`; kernels with `fp8` in their names get the fp8 peak.
    pub fn floor(&self, cost: &Cost, kernels: &str) -> f64 {
        let rate = if kernels.contains("fp8") {
            self.fp8_flops
        } else {
            self.bf16_flops
        };
        (cost.flops / rate).max(cost.bytes() / self.bandwidth)
    }
}

/// Seconds of one run of `plan` with resident weights.
pub(super) fn seconds(plan: &Plan, gpu: &GpuSpec) -> f64 {
    let steps = 0..plan.steps().len();
    steps.map(|index| step_seconds(plan, index, gpu)).sum()
}

fn step_seconds(plan: &Plan, index: usize, gpu: &GpuSpec) -> f64 {
    let step = &plan.steps()[index];
    let cost = plan.cost(index);
    let weight = step
        .reads
        .iter()
        .map(|&buf| plan.spec(buf))
        .find(|spec| spec.role == Role::Weight);
    let is_bf16 = weight.is_none_or(|spec| spec.dtype != DType::F32);
    let rate = match &step.op {
        Op::Linear {
            scaling: Scaling::Rows | Scaling::Fixed(_),
            ..
        } => (gpu.fp8_flops * LINEAR_FP8).max(gpu.bf16_flops * LINEAR_BF16),
        Op::Linear { .. } if !is_bf16 => gpu.bf16_flops * LINEAR_BF16 / F32_PRODUCTS,
        Op::Linear { .. } => gpu.bf16_flops * LINEAR_BF16,
        Op::Attention(_) => gpu.bf16_flops * ATTENTION,
        _ if !is_bf16 => gpu.bf16_flops * CONVOLUTION / F32_CONVOLUTION,
        _ => gpu.bf16_flops * CONVOLUTION,
    };
    let bytes = cost.bytes();
    LAUNCH + (cost.flops / rate).max(bytes / (gpu.bandwidth * BANDWIDTH))
}

/// The assumptions behind the times, in words; with or without FP8 layers.
pub(super) fn assumptions(has_fp8: bool) -> String {
    let percent = |share: f64| (share * 100.0).round();
    let mut linear = format!("GEMMs at {} % of the bf16 peak", percent(LINEAR_BF16));
    if has_fp8 {
        linear += &format!(
            ", those in FP8 at {} % of the fp8 peak",
            percent(LINEAR_FP8)
        );
    }
    format!(
        "{linear}, attention at {} % and convolutions at {} % of the bf16 peak, other steps at {} % of the memory \
         rate, nothing fused",
        percent(ATTENTION),
        percent(CONVOLUTION),
        percent(BANDWIDTH)
    )
}
