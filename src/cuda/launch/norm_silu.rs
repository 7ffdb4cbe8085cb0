//! `norm_silu.cu`: the norm and the activation before the convolutions of a video.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::kernels::norm_silu::{
            COLS, L2SiluBf16, RMS_RELU_BF16, RMS_SILU_BF16, RmsMapArgs, THREADS,
        },
        lowering::{BoundLaunch, LowerCx, blocks, int},
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
    let reads = &cx.steps[0].reads;
    match (&cx.steps[0].op, &cx.steps[1].op) {
        (Op::RmsNorm(op), act) if op.width == x.cols && reads.len() == 1 => {
            let args = RmsMapArgs {
                y: y.dev_mut(),
                x: x.dev(),
                rows: int(x.rows)?,
                cols: int(x.cols)?,
                lanes: int(lanes)?,
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
                eps: op.eps,
            };
            let kernel = match act {
                Op::Relu => RMS_RELU_BF16,
                _ => RMS_SILU_BF16,
            };
            // SAFETY: x and y have the same rows and columns; the grid has `lanes` threads for each row.
            unsafe { cx.launch_one_of(kernel, &args, grid, 0) }.map(Some)
        }
        (Op::L2Norm { eps }, Op::Silu) if cx.dtype(reads[1]) == Bf16 => {
            let w = cx.view(reads[1]);
            let entry = L2SiluBf16 {
                y: y.dev_mut(),
                x: x.dev(),
                w: w.dev(),
                rows: int(x.rows)?,
                cols: int(x.cols)?,
                lanes: int(lanes)?,
                w_step: int(cx.step_of(w)?)?,
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
                eps: *eps,
            };
            // SAFETY: as above, and w has an element for each column, `w_step` apart.
            unsafe { cx.launch(&entry, grid, 0) }.map(Some)
        }
        _ => Ok(None),
    }
}
