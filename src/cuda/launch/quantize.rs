//! `quantize.cu`: quantises rows and elements to FP8.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{E4m3, F32},
    Result,
    cuda::{
        gpu::{
            arguments::{Dev, DevMut},
            kernels::quantize::{
                QUANTIZE, QuantizeArgs, ROW_COLS, ROW_SCALE_QUANTIZE, ROW_SCALE_QUANTIZE_WIDE,
                RowScaleQuantizeArgs, THREADS, WIDE_COLS,
            },
        },
        lowering::{BoundLaunch, DeviceView, LowerCx, blocks, chunk_blocks, int},
    },
};

/// Op::RowScale.
pub(in crate::cuda) fn row_scale(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, s) = (cx.read(0), cx.write());
    match rows(x, None, s, cx.step_of(s)?)? {
        Some(launch) => Ok(vec![launch]),
        None => Err(cx.refusal("rows must be bf16 or f32, aligned, of at most 24576 columns")),
    }
}

/// [Op::RowScale, Op::Quantize] of the same rows.
pub(in crate::cuda) fn scaled_rows(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let (x, q) = (cx.read(0), cx.write());
    let s = cx.view(cx.steps[0].writes);
    Ok(rows(x, Some(q), s, cx.step_of(s)?)?.map(|launch| vec![launch]))
}

/// Quantises the rows of a weight to FP8, each with a scale.
pub(in crate::cuda) fn weight(
    from: DeviceView,
    to: DeviceView,
    scales: DeviceView,
) -> Result<BoundLaunch> {
    assert_eq!((from.rows, from.cols), (to.rows, to.cols));
    assert_eq!((scales.rows, scales.cols), (1, from.rows));
    let launch = rows(from, Some(to), scales, 1)?;
    Ok(launch.expect("an aligned weight of a type and width that the plan was checked for"))
}

/// The scale of each row of x, `s_pitch` elements apart, and the quantised rows; `None` if no kernel takes x.
fn rows(
    x: DeviceView,
    q: Option<DeviceView>,
    s: DeviceView,
    s_pitch: usize,
) -> Result<Option<BoundLaunch>> {
    let aligned = [Some(x), q]
        .into_iter()
        .flatten()
        .all(DeviceView::is_aligned);
    let quantised = q.is_none_or(|q| q.dtype == E4m3);
    if !aligned || !quantised || x.cols > WIDE_COLS || s.dtype != F32 {
        return Ok(None);
    }
    let args = RowScaleQuantizeArgs {
        q: q.map_or(DevMut::new(0), DeviceView::dev_mut),
        s: s.dev_mut(),
        x: x.into(),
        cols: int(x.cols)?,
        x_pitch: int(x.pitch)?,
        q_pitch: int(q.map_or(0, |q| q.pitch))?,
        s_pitch: int(s_pitch)?,
    };
    let all = if x.cols <= ROW_COLS {
        ROW_SCALE_QUANTIZE
    } else {
        ROW_SCALE_QUANTIZE_WIDE
    };
    // SAFETY: x and q have the same rows and columns, no more of these than the kernel holds; s has an element for each
    // row, `s_pitch` apart; the grid has a block for each row.
    unsafe { BoundLaunch::one_of(all, &args, [blocks(x.rows)?, 1, 1]) }
}

/// Op::Quantize, by the scales of the rows or by a factor.
pub(in crate::cuda) fn quantize(cx: &LowerCx<'_>, factor: Option<f32>) -> Result<Vec<BoundLaunch>> {
    let (x, q) = (cx.read(0), cx.write());
    cx.check_aligned(&[x, q])?;
    if q.dtype != E4m3 {
        return Err(cx.types());
    }
    let (s, s_pitch) = match factor {
        Some(_) => (Dev::new(0), 0),
        None => (cx.read(1).dev(), cx.step_of(cx.read(1))?),
    };
    let grid = chunk_blocks(q.rows, q.cols, THREADS)?;
    let args = QuantizeArgs {
        q: q.dev_mut(),
        x: x.into(),
        s,
        rows: int(q.rows)?,
        cols: int(q.cols)?,
        x_pitch: int(x.pitch)?,
        q_pitch: int(q.pitch)?,
        s_pitch: int(s_pitch)?,
        factor: factor.unwrap_or(1.0),
    };
    // SAFETY: x and q have the same rows and columns; s is null or has an element for each row, `s_pitch` apart; the
    // grid covers q.
    unsafe { cx.launch_one_of(QUANTIZE, &args, grid, 0) }
}
