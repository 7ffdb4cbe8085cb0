//! `rms_norm.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            arguments::AnyDev,
            kernels::{
                norm::{HEAD_COLS, ROW_COLS, THREADS},
                rms_norm::{RMS_NORM_HEADS, RMS_NORM_ROWS, RmsNormArgs},
                rms_norm_quantize::{RMS_NORM_QUANTIZE, RmsNormQuantizeArgs},
            },
        },
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
    plan::Op,
};

/// Op::RmsNorm: long rows by a block each, heads and short rows by a warp each.
pub(in crate::cuda) fn rms_norm(cx: &mut LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let Op::RmsNorm(op) = &cx.steps[0].op else {
        panic!("norm lowering called with {}", cx.steps[0].op.name());
    };
    let (x, y) = (cx.read(0), cx.write());
    let (width, heads) = (op.width, x.cols / op.width);
    if !width.is_multiple_of(8) || width > ROW_COLS {
        return Err(cx.refusal("heads must be a multiple of 8 columns, at most 6144"));
    }
    cx.check_aligned(&[x, y])?;
    let weight = cx.steps[0].reads.get(1);
    let short = weight.map(|&w| cx.view(w)).filter(|w| w.dtype == Bf16);
    let by_warps = width <= HEAD_COLS && (x.dtype, y.dtype) != (F32, F32) && short.is_none();
    let norm_weight = match (weight, short) {
        (_, Some(w)) => w.into(),
        (Some(_), _) => AnyDev::new(cx.norm_weight(weight, op.ends.len(), width)?.address(), F32),
        _ => AnyDev::new(0, F32),
    };
    let ends = cx.ends(&op.ends)?;
    let count = x.rows * heads;
    let grid = if by_warps {
        count.div_ceil(THREADS / 32)
    } else {
        count
    };
    int(count)?;
    let grid = [blocks(grid)?, 1, 1];
    if let Some(w) = short
        && (heads != 1 || (w.rows, w.cols) != (1, op.ends.len() * width))
    {
        return Err(cx.types());
    }
    let args = RmsNormArgs {
        y: y.into(),
        x: x.into(),
        w: norm_weight,
        ends,
        rows: int(x.rows)?,
        runs: int(heads)?,
        cols: int(width)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
        eps: op.eps,
    };
    let all = if by_warps {
        RMS_NORM_HEADS
    } else {
        RMS_NORM_ROWS
    };
    // SAFETY: x and y have the same rows and `heads * width` columns; w is null or has a row of `width` for each of the
    // groups that `ends` lists, and the last of these ends with the rows; the grid covers all heads.
    unsafe { cx.launch_one_of(all, &args, grid, 0) }
}

/// [Op::RmsNorm, Op::RowScale, Op::Quantize] of whole rows, without storing the norm in bf16.
pub(in crate::cuda) fn quantized(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Op::RmsNorm(op) = &cx.steps[0].op else {
        panic!("norm lowering called with {}", cx.steps[0].op.name());
    };
    let (x, s, q) = (cx.read(0), cx.view(cx.steps[1].writes), cx.write());
    let fits = x.is_aligned()
        && q.is_aligned()
        && op.width == x.cols
        && x.cols.is_multiple_of(8)
        && x.cols <= ROW_COLS
        && cx.dtype(cx.steps[0].writes) == Bf16;
    if !fits {
        return Ok(None);
    }
    let Ok(w) = cx.norm_weight(cx.steps[0].reads.get(1), op.ends.len(), x.cols) else {
        return Ok(None);
    };
    let ends = cx.ends(&op.ends)?;
    let grid = [blocks(x.rows)?, 1, 1];
    let args = RmsNormQuantizeArgs {
        q: q.dev_mut(),
        s: s.dev_mut(),
        x: x.into(),
        w,
        ends,
        cols: int(x.cols)?,
        x_pitch: int(x.pitch)?,
        q_pitch: int(q.pitch)?,
        s_pitch: int(cx.step_of(s)?)?,
        eps: op.eps,
    };
    // SAFETY: x and q have the same rows and columns, and s has an element for each row; w has a row for each of the
    // groups that `ends` lists, and the last of these ends with the rows; the grid has a block for each row.
    let launch = unsafe { BoundLaunch::one_of(RMS_NORM_QUANTIZE, &args, grid) }?;
    Ok(launch.map(|launch| vec![launch]))
}
