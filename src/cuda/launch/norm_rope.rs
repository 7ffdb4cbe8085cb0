//! `norm_rope.cu`: the norm of each head and its rotary embedding in one pass.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::kernels::norm_rope::{HALF, HEAD, HEADS_PER_BLOCK, NormRopeBf16},
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
    plan::Op,
};

/// [Op::RmsNorm, Op::Rope] of bf16 heads of 128 with 48 angles.
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let (Op::RmsNorm(norm), &Op::Rope { heads }) = (&cx.steps[0].op, &cx.steps[1].op) else {
        panic!("norm_rope lowering called with {} steps", cx.steps.len());
    };
    let (x, table, y) = (cx.read(0), cx.view(cx.steps[1].reads[1]), cx.write());
    let fits = (norm.width, heads * HEAD) == (HEAD, x.cols)
        && (table.cols, table.pitch) == (2 * HALF, 2 * HALF)
        && (x.dtype, table.dtype, y.dtype) == (Bf16, F32, Bf16)
        && [x, table, y].iter().all(|view| view.is_aligned());
    if !fits {
        return Ok(None);
    }
    let Ok(w) = cx.norm_weight(cx.steps[0].reads.get(1), norm.ends.len(), HEAD) else {
        return Ok(None);
    };
    let ends = cx.ends(&norm.ends)?;
    int(x.rows * heads)?;
    let entry = NormRopeBf16 {
        y: y.dev_mut(),
        x: x.dev(),
        w,
        table: table.dev(),
        ends,
        rows: int(x.rows)?,
        heads: int(heads)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
        eps: norm.eps,
    };
    let grid = [blocks((x.rows * heads).div_ceil(HEADS_PER_BLOCK))?, 1, 1];
    // SAFETY: x and y have the same rows of `heads` heads, the table has as many rows without gaps; w has a row for each
    // of the groups that `ends` lists, and the last of these ends with the rows; the grid covers all heads.
    unsafe { cx.launch(&entry, grid, 0) }.map(Some)
}
