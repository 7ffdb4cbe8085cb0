//! `l2_norm.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    Result,
    cuda::{
        gpu::kernels::l2_norm::{L2_NORM, L2NormArgs, ROWS},
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
};

/// Op::L2Norm, all of one type.
pub(in crate::cuda) fn l2_norm(cx: &LowerCx<'_>, eps: f32) -> Result<Vec<BoundLaunch>> {
    let (x, w, y) = (cx.read(0), cx.read(1), cx.write());
    cx.check_aligned(&[x, y])?;
    let w_step = cx.step_of(w)?;
    let grid = [blocks(y.rows.div_ceil(ROWS))?, 1, 1];
    let args = L2NormArgs {
        y: y.into(),
        x: x.into(),
        w: w.into(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        w_step: int(w_step)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
        eps,
    };
    // SAFETY: x and y have the same rows and columns, and w an element for each column, `w_step` apart; the grid has a
    // warp for each row.
    unsafe { cx.launch_one_of(L2_NORM, &args, grid, 0) }
}
