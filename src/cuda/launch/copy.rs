//! `copy.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    Result,
    cuda::{
        gpu::kernels::copy::{COPY, CopyArgs, THREADS},
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
};

/// Op::Copy.
pub(in crate::cuda) fn copy(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, y) = (cx.read(0), cx.write());
    cx.check_aligned(&[x, y])?;
    if (x.rows, x.cols) != (y.rows, y.cols) {
        return Err(cx.refusal("rows and columns must be the same"));
    }
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    let args = CopyArgs {
        y: y.into(),
        x: x.into(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: x and y have the same rows and columns; the grid covers y.
    unsafe { cx.launch_one_of(COPY, &args, grid, 0) }
}
