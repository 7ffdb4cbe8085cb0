//! `norm_silu.cu`: the norm and the activation in front of a video's convolutions.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::kernels::norm_silu::{COLS, L2SiluBf16, RmsReluBf16, RmsSiluBf16, THREADS},
        lowering::{
            context::{LowerCx, blocks, int},
            work::BoundLaunch,
        },
    },
    plan::Op,
};

/// [Op::RmsNorm, Op::Silu or Op::Relu] of whole rows without a weight, and [Op::L2Norm, Op::Silu].
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let (x, y) = (cx.read(0), cx.write());
    let between = cx.dtype(cx.steps[0].writes);
    let fits = (x.dtype, between, y.dtype) == (Bf16, Bf16, Bf16)
        && (x.is_aligned() && y.is_aligned())
        && x.cols.is_multiple_of(8)
        && x.cols <= COLS;
    if !fits {
        return Ok(None);
    }
    let lanes = (x.cols / 8).next_power_of_two().min(32);
    int(x.rows * lanes + THREADS)?;
    let grid = [blocks((x.rows * lanes).div_ceil(THREADS))?, 1, 1];
    macro_rules! launch {
        ($entry:ident, $eps:expr $(, $name:ident: $value:expr)*) => {{
            let entry = $entry {
                y: y.dev_mut(),
                x: x.dev(),
                $($name: $value,)*
                rows: int(x.rows)?,
                cols: int(x.cols)?,
                lanes: int(lanes)?,
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
                eps: $eps,
            };
            // SAFETY: x and y have the same rows and columns, and w an element for each column, `w_step` apart; the
            // grid has `lanes` threads for each row.
            unsafe { cx.launch(&entry, grid, 0) }.map(Some)
        }};
    }
    let reads = &cx.steps[0].reads;
    match (&cx.steps[0].op, &cx.steps[1].op) {
        (Op::RmsNorm { eps, width, .. }, act) if *width == x.cols && reads.len() == 1 => {
            match act {
                Op::Relu => launch!(RmsReluBf16, *eps),
                _ => launch!(RmsSiluBf16, *eps),
            }
        }
        (Op::L2Norm { eps }, Op::Silu) if cx.dtype(reads[1]) == Bf16 => {
            let w = cx.view(reads[1]);
            let w_step = int(cx.step_of(w)?)?;
            launch!(L2SiluBf16, *eps, w: w.dev(), w_step: w_step)
        }
        _ => Ok(None),
    }
}
