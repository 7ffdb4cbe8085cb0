//! `activation.cu`: elementwise ops in bf16, some with a result in FP8.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, E4m3},
    Result,
    cuda::{
        gpu::kernels::{
            activation::{
                ClampBf16, GELU_TANH_BF16, GELU7_BF16, MapArgs, MulBf16, RELU_BF16, SILU_BF16,
                SWIGLU7_BF16, THREADS,
            },
            activation_quantize::{GELU7_E4M3, QuantizedMapArgs, SWIGLU7_E4M3},
        },
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
    plan::Op,
};

/// Op::SwiGlu7, Op::Gelu7, Op::GeluTanh, Op::Silu, Op::Relu, Op::Clamp, Op::Mul.
pub(in crate::cuda) fn activation(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (u, y) = (cx.read(0), cx.write());
    if (u.dtype, y.dtype) != (Bf16, Bf16) {
        return Err(cx.types());
    }
    cx.check_aligned(&[u, y])?;
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    let args = MapArgs {
        y: y.dev_mut(),
        u: u.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        u_pitch: int(u.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let map = match cx.steps[0].op {
        Op::Gelu7 => GELU7_BF16,
        Op::GeluTanh => GELU_TANH_BF16,
        Op::Silu => SILU_BF16,
        Op::Relu => RELU_BF16,
        Op::SwiGlu7 => SWIGLU7_BF16,
        Op::Clamp { low, high } => return clamp(cx, [low, high], grid),
        _ => return mul(cx, grid),
    };
    // SAFETY: u and y have the same rows, and u the columns of y, for swiglu7 twice as many; the grid covers y.
    unsafe { cx.launch_one_of(map, &args, grid, 0) }
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

fn clamp(cx: &LowerCx<'_>, [low, high]: [f32; 2], grid: [u32; 3]) -> Result<Vec<BoundLaunch>> {
    let (u, y) = (cx.read(0), cx.write());
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

fn mul(cx: &LowerCx<'_>, grid: [u32; 3]) -> Result<Vec<BoundLaunch>> {
    let (u, z, y) = (cx.read(0), cx.read(1), cx.write());
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
