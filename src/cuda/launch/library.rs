//! What a library could compute instead of our own kernel: row groups as row slices.

use crate::{
    DType::{Bf16, F32},
    cuda::{
        gpu::{
            arguments::Dev,
            cublaslt::{Factors, Gemm, Operands, Output},
        },
        lowering::{arena::View, context::Site},
    },
    plan::{Op, Scaling},
};

/// Op::Linear without bias, of bf16 by bf16 or of 8 bits with their scales, as one product for each group that has rows;
/// none of another step.
pub(in crate::cuda) fn products(site: &mut Site<'_>) -> Vec<(Gemm, Operands)> {
    let step = &site.steps[0];
    let Op::Linear { ends, scaling } = &step.op else {
        return Vec::new();
    };
    let (x, w, y) = (site.read(0), site.read(1), site.view(step.writes));
    // Scales of rows of x and of w: one behind the other.
    let scales = match (scaling, &step.reads[2..]) {
        (Scaling::None, []) if (x.dtype, w.dtype) == (Bf16, Bf16) => None,
        (Scaling::Rows, &[s, ws]) => Some((site.view(s).address, site.view(ws).address)),
        (Scaling::Fixed(factor), &[ws]) => {
            let all: Dev<f32> = site.table(&vec![1.0 / factor; x.rows]);
            Some((all.address(), site.view(ws).address))
        }
        _ => return Vec::new(),
    };
    let factors = match scales {
        None => Factors::Bf16,
        // Sums are promoted to f32 now and then, as our own kernel does.
        Some(_) => Factors::E4m3 { fast: false },
    };
    let row = |view: View, row: usize| view.address + (row * view.pitch * view.dtype.size()) as u64;
    let starts = [0].iter().chain(ends);
    let groups = starts.zip(ends).enumerate();
    let product = |(group, (&start, &end))| {
        let gemm = Gemm {
            m: end - start,
            n: y.cols,
            k: x.cols,
            x_pitch: x.pitch,
            w_pitch: w.pitch,
            y_pitch: y.pitch,
            factors,
            output: if y.dtype == F32 {
                Output::F32
            } else {
                Output::Bf16
            },
            accumulate: false,
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
    groups.map(product).filter(|(gemm, _)| gemm.m > 0).collect()
}
