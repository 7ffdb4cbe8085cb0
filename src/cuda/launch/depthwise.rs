//! `depthwise.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    Result,
    cuda::{
        gpu::kernels::depthwise::{DEPTHWISE, DepthwiseArgs, THREADS},
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
    plan::Conv3d,
};

/// Depthwise Op::Conv3d, all of one type.
pub(in crate::cuda) fn depthwise(cx: &LowerCx<'_>, conv: Conv3d) -> Result<Vec<BoundLaunch>> {
    let [x, v, b] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    cx.check_aligned(&[x, b, y])?;
    let c = cx.conv_shape(conv)?;
    let args = DepthwiseArgs {
        y: y.into(),
        x: x.into(),
        v: v.into(),
        b: b.into(),
        c,
        x_pitch: int(x.pitch)?,
        v_pitch: int(v.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = chunk_blocks(y.rows, c.inputs.unsigned_abs() as usize, THREADS)?;
    // SAFETY: x and y have the extents given, v an element for each channel and tap, and b one for each channel; the
    // grid covers y, and the kernel reads x only inside its extents.
    unsafe { cx.launch_one_of(DEPTHWISE, &args, grid, 0) }
}
