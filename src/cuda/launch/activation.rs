//! `activation.cu`: element by element, bf16, for some in FP8.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, E4m3},
    Result,
    cuda::{
        gpu::kernels::activation::{
            ClampBf16, Gelu7Bf16, Gelu7E4m3, GeluTanhBf16, MulBf16, ReluBf16, SiluBf16,
            Swiglu7Bf16, Swiglu7E4m3, THREADS,
        },
        lowering::{
            context::{LowerCx, chunk_blocks, int},
            work::BoundLaunch,
        },
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
    macro_rules! launch {
        ($entry:ident $(, $name:ident)*) => {{
            let entry = $entry {
                y: y.dev_mut(),
                u: u.dev(),
                rows: int(y.rows)?,
                cols: int(y.cols)?,
                u_pitch: int(u.pitch)?,
                y_pitch: int(y.pitch)?,
                $($name,)*
            };
            // SAFETY: u and y have the same rows, and u the columns of y, for swiglu7 twice as many; the grid covers y.
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match &cx.steps[0].op {
        Op::SwiGlu7 => launch!(Swiglu7Bf16),
        Op::Gelu7 => launch!(Gelu7Bf16),
        Op::GeluTanh => launch!(GeluTanhBf16),
        Op::Silu => launch!(SiluBf16),
        Op::Relu => launch!(ReluBf16),
        &Op::Clamp { low, high } => launch!(ClampBf16, low, high),
        _ => mul(cx, grid),
    }
}

/// [Op::SwiGlu7 or Op::Gelu7, Op::Quantize], where the activation in bf16 is not stored.
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
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                u: u.dev(),
                rows: int(y.rows)?,
                cols: int(y.cols)?,
                u_pitch: int(u.pitch)?,
                y_pitch: int(y.pitch)?,
                factor,
            };
            // SAFETY: u and y have the same rows, and u the columns of y, for swiglu7 twice as many; the grid covers y.
            unsafe { cx.launch(&entry, grid, 0) }.map(Some)
        }};
    }
    match cx.steps[0].op {
        Op::SwiGlu7 => launch!(Swiglu7E4m3),
        _ => launch!(Gelu7E4m3),
    }
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
