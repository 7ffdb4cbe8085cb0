//! `add_rms_norm.cu`: a sum that stays, and the norm of its rows, as it is or in FP8.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::add_rms_norm::{
                AddRmsNormBf16, AddRmsNormF32, AddRmsNormQuantizeBf16, AddRmsNormQuantizeF32,
                ROW_COLS,
            },
        },
        lowering::{
            arena::DeviceView,
            context::{LowerCx, blocks, int},
            work::BoundLaunch,
        },
    },
    plan::Op,
};

/// [Op::Add, Op::RmsNorm] of whole rows: an f32 stream, what is added to it, and its norm in bf16.
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Some(Sum {
        x,
        z,
        s,
        w,
        ends,
        eps,
    }) = sum(cx)?
    else {
        return Ok(None);
    };
    let y = cx.write();
    if !y.is_aligned() || y.pitch != x.pitch {
        return Ok(None);
    }
    let grid = [blocks(x.rows)?, 1, 1];
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                s: s.dev_mut(),
                x: x.dev(),
                z: z.dev(),
                w,
                ends,
                cols: int(x.cols)?,
                pitch: int(x.pitch)?,
                eps,
            };
            // SAFETY: all four have the same rows, columns and pitch; w has a row for each of the groups that `ends`
            // lists, and the last of these ends with the rows; the grid has a block for each row.
            unsafe { cx.launch(&entry, grid, 0) }.map(Some)
        }};
    }
    match z.dtype {
        Bf16 => launch!(AddRmsNormBf16),
        F32 => launch!(AddRmsNormF32),
        _ => Ok(None),
    }
}

/// [Op::Add, Op::RmsNorm, Op::RowScale, Op::Quantize]: the same, where the norm is not stored.
pub(in crate::cuda) fn quantized(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Some(Sum {
        x,
        z,
        s,
        w,
        ends,
        eps,
    }) = sum(cx)?
    else {
        return Ok(None);
    };
    let (scales, q) = (cx.view(cx.steps[2].writes), cx.write());
    if !q.is_aligned() {
        return Ok(None);
    }
    let grid = [blocks(x.rows)?, 1, 1];
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                q: q.dev_mut(),
                scales: scales.dev_mut(),
                s: s.dev_mut(),
                x: x.dev(),
                z: z.dev(),
                w,
                ends,
                cols: int(x.cols)?,
                pitch: int(x.pitch)?,
                q_pitch: int(q.pitch)?,
                scale_pitch: int(cx.step_of(scales)?)?,
                eps,
            };
            // SAFETY: as above for x, z, s, w and the grid; q has the same rows and columns, and `scales` an element for
            // each row.
            unsafe { cx.launch(&entry, grid, 0) }.map(Some)
        }};
    }
    match z.dtype {
        Bf16 => launch!(AddRmsNormQuantizeBf16),
        F32 => launch!(AddRmsNormQuantizeF32),
        _ => Ok(None),
    }
}

/// What the first two steps read, and the sum.
struct Sum {
    x: DeviceView,
    z: DeviceView,
    s: DeviceView,
    w: Dev<f32>,
    ends: Dev<i32>,
    eps: f32,
}

/// None if the kernels do not do these shapes or types.
fn sum(cx: &mut LowerCx<'_>) -> Result<Option<Sum>> {
    let [add, norm, ..] = cx.steps else {
        panic!("there are two steps or more here");
    };
    let Op::RmsNorm {
        eps, width, ends, ..
    } = &norm.op
    else {
        panic!("a norm is the second step here");
    };
    let (x, z, s) = (cx.read(0), cx.read(1), cx.view(add.writes));
    let fits = [x, z, s]
        .iter()
        .all(|v| v.is_aligned() && v.pitch == x.pitch)
        && *width == x.cols
        && width.is_multiple_of(8)
        && *width <= ROW_COLS
        && (x.dtype, s.dtype, cx.dtype(norm.writes)) == (F32, F32, Bf16);
    if !fits {
        return Ok(None);
    }
    let Ok(w) = cx.gains(norm.reads.get(1), ends.len(), *width) else {
        return Ok(None);
    };
    let ends = cx.ends(ends)?;
    Ok(Some(Sum {
        x,
        z,
        s,
        w,
        ends,
        eps: *eps,
    }))
}
