//! `channel.cu`: elementwise ops with parameters for each channel.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::kernels::channel::{AFFINE, AffineArgs, SnakeF32, THREADS},
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
};

/// Op::Snake in f32.
pub(in crate::cuda) fn snake(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let [x, alpha, beta] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    let vectors = [alpha, beta].iter().all(|v| (v.rows, v.dtype) == (1, F32));
    if !vectors || (x.dtype, y.dtype) != (F32, F32) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, alpha, beta, y])?;
    let entry = SnakeF32 {
        y: y.dev_mut(),
        x: x.dev(),
        alpha: alpha.dev(),
        beta: beta.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    // SAFETY: x and y have the same rows and columns, alpha and beta an element for each column; the grid covers y.
    unsafe { cx.launch(&entry, grid, 0) }
}

/// Op::Affine with f32 vectors.
pub(in crate::cuda) fn affine(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let [x, a, b] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    if [a, b].iter().any(|v| (v.rows, v.dtype) != (1, F32)) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, a, b, y])?;
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    let args = AffineArgs {
        y: y.into(),
        x: x.into(),
        a: a.dev(),
        b: b.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: x and y have the same rows and columns, a and b an element for each column; the grid covers y.
    unsafe { cx.launch_one_of(AFFINE, &args, grid, 0) }
}
