//! `add_rms_norm.cu`: a sum, which is stored, and the norm of its rows in bf16 or FP8.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::{
                add_rms_norm::{ADD_RMS_NORM, AddRmsNormArgs},
                add_rms_norm_quantize::{ADD_RMS_NORM_QUANTIZE, AddRmsNormQuantizeArgs},
                norm::ROW_COLS,
            },
            params::QuantizedNorm,
        },
        lowering::{BoundLaunch, DeviceView, LowerCx, blocks, int},
    },
    plan::Op,
};

/// [Op::Add, Op::RmsNorm] of whole rows: an addition to the f32 residual stream, and its norm in bf16.
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Some(sum) = sum(cx)? else {
        return Ok(None);
    };
    let y = cx.write();
    if !y.is_aligned() || y.pitch != sum.x.pitch {
        return Ok(None);
    }
    let args = AddRmsNormArgs {
        y: y.dev_mut(),
        s: sum.s.dev_mut(),
        x: sum.x.dev(),
        z: sum.z.into(),
        w: sum.w,
        ends: sum.ends,
        cols: int(y.cols)?,
        pitch: int(y.pitch)?,
        eps: sum.eps,
    };
    // SAFETY: all four have the same rows, columns and pitch; w has a row for each of the groups that `ends` lists, and
    // the last of these ends with the rows; the grid has a block for each row.
    let launch = unsafe { BoundLaunch::one_of(ADD_RMS_NORM, &args, [blocks(y.rows)?, 1, 1]) }?;
    Ok(launch.map(|launch| vec![launch]))
}

/// [Op::Add, Op::RmsNorm, Op::RowScale, Op::Quantize]: the same, without storing the norm in bf16.
pub(in crate::cuda) fn quantized(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Some(sum) = sum(cx)? else {
        return Ok(None);
    };
    let (scales, q) = (cx.view(cx.steps[2].writes), cx.write());
    if !q.is_aligned() {
        return Ok(None);
    }
    let args = AddRmsNormQuantizeArgs {
        q: q.dev_mut(),
        scales: scales.dev_mut(),
        s: sum.s.dev_mut(),
        x: sum.x.dev(),
        z: sum.z.into(),
        w: sum.w,
        ends: sum.ends,
        shape: QuantizedNorm {
            cols: int(q.cols)?,
            x_pitch: int(sum.x.pitch)?,
            q_pitch: int(q.pitch)?,
            s_pitch: int(cx.step_of(scales)?)?,
            eps: sum.eps,
        },
    };
    // SAFETY: as above for x, z, s, w and the grid; q has the same rows and columns, and `scales` an element for each
    // row.
    let launch =
        unsafe { BoundLaunch::one_of(ADD_RMS_NORM_QUANTIZE, &args, [blocks(q.rows)?, 1, 1]) }?;
    Ok(launch.map(|launch| vec![launch]))
}

/// The inputs of the first two steps, and the sum.
struct Sum {
    x: DeviceView,
    z: DeviceView,
    s: DeviceView,
    w: Dev<f32>,
    ends: Dev<i32>,
    eps: f32,
}

/// None if the kernels do not take these shapes or types.
fn sum(cx: &mut LowerCx<'_>) -> Result<Option<Sum>> {
    let [add, norm, ..] = cx.steps else {
        panic!("add_rms_norm lowering called with {} steps", cx.steps.len());
    };
    let Op::RmsNorm(op) = &norm.op else {
        panic!("add_rms_norm lowering called with {}", norm.op.name());
    };
    let (x, z, s) = (cx.read(0), cx.read(1), cx.view(add.writes));
    let fits = [x, z, s]
        .iter()
        .all(|v| v.is_aligned() && v.pitch == x.pitch)
        && op.width == x.cols
        && x.cols.is_multiple_of(8)
        && x.cols <= ROW_COLS
        && (x.dtype, s.dtype, cx.dtype(norm.writes)) == (F32, F32, Bf16);
    if !fits {
        return Ok(None);
    }
    let Ok(w) = cx.norm_weight(norm.reads.get(1), op.ends.len(), x.cols) else {
        return Ok(None);
    };
    Ok(Some(Sum {
        x,
        z,
        s,
        w,
        ends: cx.ends(&op.ends)?,
        eps: op.eps,
    }))
}
