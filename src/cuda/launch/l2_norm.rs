//! `l2_norm.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::kernels::l2_norm::{L2NormBf16, L2NormF32, ROWS},
        lowering::{
            context::{LowerCx, blocks, int},
            work::BoundLaunch,
        },
    },
};

/// Op::L2Norm, all of one type.
pub(in crate::cuda) fn l2_norm(cx: &LowerCx<'_>, eps: f32) -> Result<Vec<BoundLaunch>> {
    let (x, w, y) = (cx.read(0), cx.read(1), cx.write());
    if (x.dtype, w.dtype) != (y.dtype, y.dtype) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, y])?;
    let w_step = cx.step_of(w)?;
    let grid = [blocks(y.rows.div_ceil(ROWS))?, 1, 1];
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                x: x.dev(),
                w: w.dev(),
                rows: int(y.rows)?,
                cols: int(y.cols)?,
                w_step: int(w_step)?,
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
                eps,
            };
            // SAFETY: x and y have the same rows and columns, and w an element for each column, `w_step` apart; the
            // grid has a warp for each row.
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match y.dtype {
        Bf16 => launch!(L2NormBf16),
        F32 => launch!(L2NormF32),
        _ => Err(cx.types()),
    }
}
