//! The GEMMs that a library could compute instead of our own kernel: one for each row group.

use crate::{
    DType::{Bf16, F32},
    cuda::{
        gpu::{
            arguments::Dev,
            cublaslt::{GemmDesc, OperandType, Operands, OutputType},
        },
        lowering::{arena::DeviceView, context::LowerCx},
    },
    plan::{Op, Scaling},
};

/// Op::Linear without bias, of bf16 by bf16 or of FP8 with scales, as one GEMM for each group that has rows; empty for any
/// other step.
pub(in crate::cuda) fn gemms(cx: &mut LowerCx<'_>) -> Vec<(GemmDesc, Operands)> {
    let step = &cx.steps[0];
    let Op::Linear { ends, scaling } = &step.op else {
        return Vec::new();
    };
    let (x, w, y) = (cx.read(0), cx.read(1), cx.view(step.writes));
    // Addresses of the scales of x and of w.
    let scales = match (scaling, &step.reads[2..]) {
        (Scaling::None, []) if (x.dtype, w.dtype) == (Bf16, Bf16) => None,
        (Scaling::Rows, &[s, ws]) => Some((cx.view(s).address, cx.view(ws).address)),
        (Scaling::Fixed(factor), &[ws]) => {
            let all: Dev<f32> = cx.metadata(&vec![1.0 / factor; x.rows]);
            Some((all.address(), cx.view(ws).address))
        }
        _ => return Vec::new(),
    };
    let operands = match scales {
        None => OperandType::Bf16,
        // Partial sums are promoted to f32, as in our own kernel.
        Some(_) => OperandType::E4m3 { fast: false },
    };
    let row =
        |view: DeviceView, row: usize| view.address + (row * view.pitch * view.dtype.size()) as u64;
    let starts = [0].iter().chain(ends);
    let groups = starts.zip(ends).enumerate();
    let gemm_of = |(group, (&start, &end))| {
        let gemm = GemmDesc {
            m: end - start,
            n: y.cols,
            k: x.cols,
            x_pitch: x.pitch,
            w_pitch: w.pitch,
            y_pitch: y.pitch,
            operands,
            output: if y.dtype == F32 {
                OutputType::F32
            } else {
                OutputType::Bf16
            },
        };
        let at = Operands {
            x: row(x, start),
            w: row(w, group * y.cols),
            y: row(y, start),
            x_scales: scales.map_or(0, |(x, _)| x + 4 * start as u64),
            w_scales: scales.map_or(0, |(_, w)| w + 4 * (group * y.cols) as u64),
        };
        (gemm, at)
    };
    groups.map(gemm_of).filter(|(gemm, _)| gemm.m > 0).collect()
}
