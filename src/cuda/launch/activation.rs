//! `activation.cu`: elementwise ops in bf16, some with a result in FP8.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, E4m3},
    Result,
    cuda::{
        gpu::{
            arguments::Instance,
            kernels::{
                activation::{ClampBf16, MapArgs, MulBf16, THREADS},
                activation_quantize::{GELU7_E4M3, QuantizedMapArgs, SWIGLU7_E4M3},
            },
        },
        lowering::{BoundLaunch, DeviceView, LowerCx, chunk_blocks, int},
    },
    plan::Op,
};

/// Op::SwiGlu7 and ops of one argument, by the kernel made from `map` for it.
pub(in crate::cuda) fn map(
    cx: &LowerCx<'_>,
    kernel: &[Instance<MapArgs>],
) -> Result<Vec<BoundLaunch>> {
    let (u, y, grid) = in_bf16(cx)?;
    let args = MapArgs {
        y: y.dev_mut(),
        u: u.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        u_pitch: int(u.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: u and y have the same rows, and u the columns of y, for swiglu7 twice as many; the grid covers y.
    unsafe { cx.launch_one_of(kernel, &args, grid, 0) }
}

/// Op::Clamp.
pub(in crate::cuda) fn clamp(cx: &LowerCx<'_>, low: f32, high: f32) -> Result<Vec<BoundLaunch>> {
    let (u, y, grid) = in_bf16(cx)?;
    let entry = ClampBf16 {
        y: y.dev_mut(),
        u: u.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        u_pitch: int(u.pitch)?,
        y_pitch: int(y.pitch)?,
        low,
        high,
    };
    // SAFETY: u and y have the same rows and columns; the grid covers y.
    unsafe { cx.launch(&entry, grid, 0) }
}

/// Op::Mul.
pub(in crate::cuda) fn mul(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let ((u, y, grid), z) = (in_bf16(cx)?, cx.read(1));
    if z.dtype != Bf16 {
        return Err(cx.types());
    }
    cx.check_aligned(&[z])?;
    let entry = MulBf16 {
        y: y.dev_mut(),
        u: u.dev(),
        z: z.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        u_pitch: int(u.pitch)?,
        z_pitch: int(z.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: all three have the same rows and columns; the grid covers y.
    unsafe { cx.launch(&entry, grid, 0) }
}

/// The first argument and the result, both bf16, and the grid.
fn in_bf16(cx: &LowerCx<'_>) -> Result<(DeviceView, DeviceView, [u32; 3])> {
    let (u, y) = (cx.read(0), cx.write());
    if (u.dtype, y.dtype) != (Bf16, Bf16) {
        return Err(cx.types());
    }
    cx.check_aligned(&[u, y])?;
    Ok((u, y, chunk_blocks(y.rows, y.cols, THREADS)?))
}

/// [Op::SwiGlu7 or Op::Gelu7, Op::Quantize], without storing the activation in bf16.
pub(in crate::cuda) fn quantized(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let (u, y) = (cx.read(0), cx.write());
    let Op::Quantize {
        factor: Some(factor),
    } = cx.steps[1].op
    else {
        return Ok(None);
    };
    let types = (u.dtype, cx.dtype(cx.steps[0].writes), y.dtype);
    if types != (Bf16, Bf16, E4m3) || !u.is_aligned() || !y.is_aligned() {
        return Ok(None);
    }
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    let args = QuantizedMapArgs {
        y: y.dev_mut(),
        u: u.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        u_pitch: int(u.pitch)?,
        y_pitch: int(y.pitch)?,
        factor,
    };
    let map = match cx.steps[0].op {
        Op::SwiGlu7 => SWIGLU7_E4M3,
        _ => GELU7_E4M3,
    };
    // SAFETY: u and y have the same rows, and u the columns of y, for swiglu7 twice as many; the grid covers y.
    unsafe { cx.launch_one_of(map, &args, grid, 0) }.map(Some)
}
