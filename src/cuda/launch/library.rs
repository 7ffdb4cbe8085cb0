//! What a library could compute instead of our own kernel: row groups as row slices.

use crate::{
    DType::{Bf16, F32},
    cuda::{
        arena::View,
        cublaslt::{Factors, Gemm, Operands, Output},
        lower::Site,
    },
    plan::Op,
};

/// Op::Linear of bf16 by bf16, without bias, as one product for each group that has rows; none of another step.
pub(in crate::cuda) fn products(site: &Site<'_>) -> Vec<(Gemm, Operands)> {
    let step = &site.steps[0];
    let (Op::Linear { ends, .. }, [_, _]) = (&step.op, &step.reads[..]) else {
        return Vec::new();
    };
    let (x, w, y) = (site.read(0), site.read(1), site.view(step.writes));
    if (x.dtype, w.dtype) != (Bf16, Bf16) {
        return Vec::new();
    }
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
            factors: Factors::Bf16,
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
            x_scales: 0,
            w_scales: 0,
        };
        (gemm, at)
    };
    groups.map(product).filter(|(gemm, _)| gemm.m > 0).collect()
}
