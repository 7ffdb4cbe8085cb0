//! The table of kernels: which steps a kernel runs, and what it needs of the GPU.
//!
//! One list for single steps and for fused ones, best first: more steps before fewer, and for one op the fastest kernel
//! before the one that takes any shape. Plans and the CPU know nothing of it. A row of several steps applies if no other
//! step reads what its kernel does not write; tests switch those rows off. A kernel for another architecture is another
//! row.

use std::ops::Range;

use super::{
    activation, add_rms_norm, attention, attention_plain, channel, combine, conv, conv3d, copy,
    depthwise, embed, gate, gemm_bf16, gemm_fp8, l2_norm, linear_f32, norm_rope, norm_silu, patch,
    pixels, quantize, rms_norm, rope, weight_norm,
};
use crate::{
    Result,
    cuda::{
        gpu::kernels::activation as kernels,
        lowering::{
            context::{Arch, Architecture, LowerCx},
            work::BoundLaunch,
        },
    },
    plan::{Buf, Op, Plan, Role, Scaling, Step},
};

/// A kernel, or several that work together, that runs consecutive steps.
pub(in crate::cuda) struct KernelRow {
    /// Number of steps.
    pub(in crate::cuda) length: usize,
    /// Whether it runs these ops.
    matches: fn(&[&Op]) -> bool,
    /// What it needs of the GPU.
    needs: Architecture,
    /// The steps whose results the kernel writes, besides the last one's.
    keeps: &'static [usize],
    /// The launches; `None` if the kernel does not take these shapes or types but another row may; a refusal if no other
    /// row could.
    pub(in crate::cuda) launch: fn(&mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>>,
}

/// `[op, ...]` on GPUs from `needs` on by `launch`, which writes the results of the steps `keeps` too.
macro_rules! row {
    ([$($op:pat),+], $needs:ident, $launch:expr) => { row!([$($op),+], $needs, $launch, keeps: []) };
    ([$($op:pat),+], $needs:ident, $launch:expr, keeps: $keeps:expr) => {
        KernelRow {
            length: [$(stringify!($op)),+].len(),
            matches: |ops| matches!(ops, [$($op),+]),
            needs: Architecture::$needs,
            keeps: &$keeps,
            launch: $launch,
        }
    };
}

/// A single `op` on GPUs from `needs` on, by the launches of a function that runs it or refuses.
macro_rules! op {
    ($needs:ident, $op:pat => |$cx:ident| $launch:expr) => {
        op!($needs, $op if true => |$cx| $launch)
    };
    ($needs:ident, $op:pat if $guard:expr => |$cx:ident| $launch:expr) => {
        KernelRow {
            length: 1,
            matches: |_| true,
            needs: Architecture::$needs,
            keeps: &[],
            launch: |$cx| match &$cx.steps[0].op {
                $op if $guard => $launch.map(Some),
                _ => Ok(None),
            },
        }
    };
}

const ROWS: &[KernelRow] = &[
    row!([Op::Add, Op::RmsNorm(_), Op::RowScale, Op::Quantize { .. }], Sm89, add_rms_norm::quantized, keeps: [0, 2]),
    row!(
        [
            Op::Linear { .. },
            Op::SwiGlu7 | Op::Gelu7,
            Op::Quantize { factor: Some(_) }
        ],
        Sm90a,
        gemm_fp8::fused
    ),
    row!([Op::RmsNorm(_), Op::RowScale, Op::Quantize { .. }], Sm89, rms_norm::quantized, keeps: [1]),
    row!(
        [Op::Conv3d(_), Op::RmsNorm(_), Op::Silu],
        Sm90a,
        conv3d::normed
    ),
    row!(
        [Op::Linear { .. }, Op::SwiGlu7 | Op::Gelu7 | Op::Add],
        Sm90a,
        gemm_bf16::fused
    ),
    row!(
        [Op::Linear { .. }, Op::SwiGlu7 | Op::Gelu7 | Op::Add],
        Sm90a,
        gemm_fp8::fused
    ),
    row!([Op::Add, Op::RmsNorm(_)], Sm80, add_rms_norm::fused, keeps: [0]),
    row!([Op::RmsNorm(_), Op::Rope { .. }], Sm80, norm_rope::fused),
    row!([Op::Attention(_), Op::SigmoidGate], Sm90a, attention::fused),
    row!(
        [Op::RmsNorm(_), Op::Silu | Op::Relu],
        Sm80,
        norm_silu::fused
    ),
    row!([Op::L2Norm { .. }, Op::Silu], Sm80, norm_silu::fused),
    row!([Op::Conv3d(_), Op::Add], Sm90a, conv3d::added),
    row!([Op::UpsampleNearest, Op::Conv3d(_)], Sm90a, conv3d::doubled),
    row!([Op::RowScale, Op::Quantize { .. }], Sm89, quantize::scaled_rows, keeps: [0]),
    row!(
        [Op::SwiGlu7 | Op::Gelu7, Op::Quantize { .. }],
        Sm89,
        activation::quantized
    ),
    op!(Sm80, Op::RowScale => |cx| quantize::row_scale(cx)),
    op!(Sm89, Op::Quantize { factor } => |cx| quantize::quantize(cx, *factor)),
    op!(Sm90a, Op::Linear { ends, scaling } if *scaling != Scaling::None => |cx| gemm_fp8::linear(cx, ends, *scaling)),
    row!([Op::Linear { .. }], Sm90a, gemm_bf16::linear),
    op!(Sm90a, Op::Linear { ends, .. } => |cx| linear_f32::linear(cx, ends)),
    op!(Sm80, Op::RmsNorm(_) => |cx| rms_norm::rms_norm(cx)),
    op!(Sm80, Op::Rope { heads } => |cx| rope::rope(cx, *heads)),
    row!([Op::Attention(_)], Sm90a, attention::attention),
    op!(Sm80, Op::Attention(_) => |cx| attention_plain::attention(cx)),
    op!(Sm80, Op::SigmoidGate => |cx| gate::sigmoid_gate(cx)),
    op!(Sm80, Op::SwiGlu7 => |cx| activation::map(cx, kernels::SWIGLU7_BF16)),
    op!(Sm80, Op::Gelu7 => |cx| activation::map(cx, kernels::GELU7_BF16)),
    op!(Sm80, Op::GeluTanh => |cx| activation::map(cx, kernels::GELU_TANH_BF16)),
    op!(Sm80, Op::Silu => |cx| activation::map(cx, kernels::SILU_BF16)),
    op!(Sm80, Op::Relu => |cx| activation::map(cx, kernels::RELU_BF16)),
    op!(Sm80, Op::Clamp { low, high } => |cx| activation::clamp(cx, *low, *high)),
    op!(Sm80, Op::Mul => |cx| activation::mul(cx)),
    op!(Sm80, Op::Add => |cx| combine::add(cx)),
    op!(Sm80, Op::Combine => |cx| combine::combine(cx)),
    op!(Sm80, Op::Copy => |cx| copy::copy(cx)),
    op!(Sm80, Op::Embed { scale } => |cx| embed::embed(cx, *scale)),
    op!(Sm80, Op::Patchify(grid) => |cx| patch::patchify(cx, *grid)),
    op!(Sm80, Op::Unpatchify(grid) => |cx| patch::unpatchify(cx, *grid)),
    op!(Sm80, Op::L2Norm { eps } => |cx| l2_norm::l2_norm(cx, *eps)),
    op!(Sm80, Op::Snake => |cx| channel::snake(cx)),
    op!(Sm80, Op::Affine => |cx| channel::affine(cx)),
    op!(Sm80, Op::Conv3d(conv) if conv.depthwise => |cx| depthwise::depthwise(cx, *conv)),
    row!([Op::Conv3d(_)], Sm90a, conv3d::conv3d),
    op!(Sm80, Op::Conv3d(conv) => |cx| conv::conv3d(cx, *conv)),
    op!(Sm80, Op::Conv1d(conv) => |cx| conv::conv1d(cx, *conv)),
    op!(Sm80, Op::ConvTranspose1d { stride } => |cx| conv::conv_transpose1d(cx, *stride)),
    op!(Sm80, Op::WeightNorm => |cx| weight_norm::weight_norm(cx)),
    op!(
        Sm80,
        Op::UpsampleNearest
            | Op::PixelShuffle(_)
            | Op::PixelUnshuffle(_)
            | Op::FrameShuffle
            | Op::Bytes
            | Op::AverageDown { .. }
            | Op::DuplicateUp { .. }
            => |cx| pixels::pixels(cx)
    ),
];

impl KernelRow {
    /// The results of `steps` that the kernel does not write.
    pub(in crate::cuda) fn unwritten(&self, steps: &[Step]) -> Vec<Buf> {
        let swallowed = (0..self.length - 1).filter(|index| !self.keeps.contains(index));
        swallowed.map(|index| steps[index].writes).collect()
    }

    /// Whether each step takes the result of the one before it, only these steps read the unwritten results, and the last
    /// result overlaps no input of an earlier step, which the kernel may still be reading.
    fn applies(&self, plan: &Plan, readers: &[usize], steps: &[Step]) -> bool {
        let ops: Vec<&Op> = steps.iter().map(|step| &step.op).collect();
        if !(self.matches)(&ops) {
            return false;
        }
        let hidden = |buf: &Buf| {
            let spec = plan.spec(*buf);
            let reads = steps.iter().flat_map(|step| &step.reads);
            let within = reads.filter(|&read| read == buf).count();
            spec.role == Role::Scratch && spec.part.is_none() && readers[buf.index()] == within
        };
        let (last, before) = steps.split_last().expect("a row of at least one step");
        let mut read = before.iter().flat_map(|step| &step.reads);
        steps.windows(2).all(|pair| feeds(&pair[0], &pair[1]))
            && self.unwritten(steps).iter().all(hidden)
            && read.all(|&buf| plan.root(buf) != plan.root(last.writes))
    }
}

/// Whether `step` reads the result of `before` once, as its first input or as either input of an Op::Add. After
/// Op::RowScale it reads the rows and their scales.
fn feeds(before: &Step, step: &Step) -> bool {
    if before.op == Op::RowScale {
        return step.reads == [before.reads[0], before.writes];
    }
    let reads = step.reads.iter().filter(|&&buf| buf == before.writes);
    reads.count() == 1 && (step.reads[0] == before.writes || step.op == Op::Add)
}

/// How many steps read each buffer, whole or in part, by [`Buf::index`] of the whole.
pub(in crate::cuda) fn readers(plan: &Plan) -> Vec<usize> {
    let mut counts = vec![0; plan.buffers().len()];
    for &buf in plan.steps().iter().flat_map(|step| &step.reads) {
        counts[plan.root(buf).index()] += 1;
    }
    counts
}

/// The rows that apply on `arch` to the steps from `at` on, best first, each with the range of its steps.
pub(in crate::cuda) fn rows_at<'a>(
    plan: &'a Plan,
    readers: &'a [usize],
    arch: &'a Arch,
    at: usize,
) -> impl Iterator<Item = (Range<usize>, &'static KernelRow)> + 'a {
    ROWS.iter().filter_map(move |row| {
        let steps = at..at + row.length;
        let fits =
            arch.has(row.needs) && row.applies(plan, readers, plan.steps().get(steps.clone())?);
        fits.then_some((steps, row))
    })
}
