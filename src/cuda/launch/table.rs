//! The table of consecutive steps that one kernel runs.
//!
//! The plan, the CPU and the names of buffers know nothing of it: a row applies where the kernel leaves out nothing
//! that anybody else would read, and switching the table off is a test.

use std::ops::Range;

use super::{
    activation, add_rms_norm, attention, channel, combine, conv, conv3d, copy, depthwise, embed,
    gate, gemm, gemm_bf16, gemm_fp8, l2_norm, linear_f32, norm_rope, norm_silu, patch, pixels,
    quantize, rms_norm, rope, weight_norm,
};
use crate::{
    DType, Result,
    cuda::lowering::{context::LowerCx, work::BoundLaunch},
    plan::{Buf, Op, Plan, Role, Scaling, Step},
};

/// Consecutive steps that one kernel runs.
pub(in crate::cuda) struct Fusion {
    /// How many steps.
    length: usize,
    /// Whether these are the ops.
    is: fn(&[&Op]) -> bool,
    /// The steps whose results the kernel writes as well as the last one's.
    keeps: &'static [usize],
    /// The launches; none if the kernel does not do these shapes or types.
    pub(in crate::cuda) launch: fn(&mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>>,
}

/// Longest first.
const FUSED: &[Fusion] = &[
    Fusion {
        length: 4,
        is: |ops| {
            matches!(
                ops,
                [
                    Op::Add,
                    Op::RmsNorm { .. },
                    Op::RowScale,
                    Op::Quantize { .. }
                ]
            )
        },
        keeps: &[0, 2],
        launch: add_rms_norm::quantized,
    },
    Fusion {
        length: 3,
        is: |ops| {
            matches!(
                ops,
                [
                    Op::Linear { .. },
                    Op::SwiGlu7 | Op::Gelu7,
                    Op::Quantize { factor: Some(_) }
                ]
            )
        },
        keeps: &[],
        launch: gemm::fused,
    },
    Fusion {
        length: 3,
        is: |ops| matches!(ops, [Op::RmsNorm { .. }, Op::RowScale, Op::Quantize { .. }]),
        keeps: &[1],
        launch: rms_norm::quantized,
    },
    Fusion {
        length: 3,
        is: |ops| matches!(ops, [Op::Conv3d(_), Op::RmsNorm { .. }, Op::Silu]),
        keeps: &[],
        launch: conv3d::normed,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::Linear { .. }, Op::SwiGlu7 | Op::Gelu7 | Op::Add]),
        keeps: &[],
        launch: gemm::fused,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::Add, Op::RmsNorm { .. }]),
        keeps: &[0],
        launch: add_rms_norm::fused,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::RmsNorm { .. }, Op::Rope { .. }]),
        keeps: &[],
        launch: norm_rope::fused,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::Attention { .. }, Op::SigmoidGate]),
        keeps: &[],
        launch: attention::fused,
    },
    Fusion {
        length: 2,
        is: |ops| {
            matches!(
                ops,
                [Op::RmsNorm { .. }, Op::Silu | Op::Relu] | [Op::L2Norm { .. }, Op::Silu]
            )
        },
        keeps: &[],
        launch: norm_silu::fused,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::Conv3d(_), Op::Add]),
        keeps: &[],
        launch: conv3d::added,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::UpsampleNearest, Op::Conv3d(_)]),
        keeps: &[],
        launch: conv3d::doubled,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::RowScale, Op::Quantize { .. }]),
        keeps: &[0],
        launch: quantize::scaled_rows,
    },
    Fusion {
        length: 2,
        is: |ops| matches!(ops, [Op::SwiGlu7 | Op::Gelu7, Op::Quantize { .. }]),
        keeps: &[],
        launch: activation::quantized,
    },
];

impl Fusion {
    /// The results among those of `steps` that are not written.
    pub(in crate::cuda) fn unwritten(&self, steps: &[Step]) -> Vec<Buf> {
        let swallowed = (0..self.length - 1).filter(|index| !self.keeps.contains(index));
        swallowed.map(|index| steps[index].writes).collect()
    }

    /// Whether each step goes on with the result of the one before it, nobody but these steps reads what is not
    /// written, and the last result lies nowhere that a step before reads: that one may still be reading.
    fn applies(&self, plan: &Plan, readers: &[usize], steps: &[Step]) -> bool {
        let ops: Vec<&Op> = steps.iter().map(|step| &step.op).collect();
        let hidden = |buf: &Buf| {
            let spec = plan.spec(*buf);
            let reads = steps.iter().flat_map(|step| &step.reads);
            let within = reads.filter(|&read| read == buf).count();
            spec.role == Role::Scratch && spec.part.is_none() && readers[buf.index()] == within
        };
        let (last, before) = steps.split_last().expect("a row has steps");
        let mut read = before.iter().flat_map(|step| &step.reads);
        (self.is)(&ops)
            && steps.windows(2).all(|pair| goes_on(&pair[0], &pair[1]))
            && self.unwritten(steps).iter().all(hidden)
            && read.all(|&buf| plan.root(buf) != plan.root(last.writes))
    }
}

/// Whether `step` reads the result of `before` as its first argument, or as any of a sum's, and nowhere else; the scale
/// of rows is the second argument, beside the rows themselves.
fn goes_on(before: &Step, step: &Step) -> bool {
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

/// The rows that apply to the steps from `at` on, and to which of them.
pub(in crate::cuda) fn rows_at<'a>(
    plan: &'a Plan,
    readers: &'a [usize],
    at: usize,
) -> impl Iterator<Item = (Range<usize>, &'static Fusion)> + 'a {
    FUSED.iter().filter_map(move |row| {
        let steps = at..at + row.length;
        let fits = row.applies(plan, readers, plan.steps().get(steps.clone())?);
        fits.then_some((steps, row))
    })
}

/// The launches of a single step.
///
/// # Errors
/// [`Error::Device`] if no kernel does this op with these types and shapes.
pub(in crate::cuda) fn step(cx: &mut LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let op = &cx.steps[0].op;
    match op {
        Op::RowScale => quantize::row_scale(cx),
        Op::Quantize { factor } => quantize::quantize(cx, *factor),
        Op::Linear { ends, scaling } if *scaling != Scaling::None => {
            gemm_fp8::linear(cx, ends, *scaling)
        }
        Op::Linear { ends, .. } if cx.read(1).dtype == DType::Bf16 => gemm_bf16::linear(cx, ends),
        Op::Linear { ends, .. } => linear_f32::linear(cx, ends),
        Op::RmsNorm { .. } => rms_norm::rms_norm(cx),
        Op::Rope { heads } => rope::rope(cx, *heads),
        Op::Attention { .. } => attention::attention(cx),
        Op::SigmoidGate => gate::sigmoid_gate(cx),
        Op::SwiGlu7
        | Op::Gelu7
        | Op::GeluTanh
        | Op::Silu
        | Op::Relu
        | Op::Clamp { .. }
        | Op::Mul => activation::activation(cx),
        Op::Add => combine::add(cx),
        Op::Combine => combine::combine(cx),
        Op::Copy => copy::copy(cx),
        Op::Embed { scale } => embed::embed(cx, *scale),
        Op::Patchify(grid) => patch::patchify(cx, *grid),
        Op::Unpatchify(grid) => patch::unpatchify(cx, *grid),
        Op::L2Norm { eps } => l2_norm::l2_norm(cx, *eps),
        Op::Snake => channel::snake(cx),
        Op::Affine => channel::affine(cx),
        Op::Conv3d(conv) if conv.depthwise => depthwise::depthwise(cx, *conv),
        Op::Conv3d(conv) => conv3d::conv3d(cx, *conv),
        Op::Conv1d(conv) => conv::conv1d(cx, *conv),
        Op::ConvTranspose1d { stride } => conv::conv_transpose1d(cx, *stride),
        Op::WeightNorm => weight_norm::weight_norm(cx),
        Op::UpsampleNearest
        | Op::PixelShuffle(_)
        | Op::PixelUnshuffle(_)
        | Op::FrameShuffle
        | Op::Bytes
        | Op::AverageDown { .. }
        | Op::DuplicateUp { .. } => pixels::pixels(cx),
    }
}
