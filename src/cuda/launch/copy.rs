//! `copy.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::kernels::copy::{CopyBf16Bf16, CopyBf16F32, CopyF32Bf16, CopyF32F32, THREADS},
        lowering::{
            context::{LowerCx, chunk_blocks, int},
            work::BoundLaunch,
        },
    },
};

/// Op::Copy.
pub(in crate::cuda) fn copy(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, y) = (cx.read(0), cx.write());
    cx.check_aligned(&[x, y])?;
    if (x.rows, x.cols) != (y.rows, y.cols) {
        return Err(cx.refusal("rows and columns must be the same"));
    }
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                x: x.dev(),
                rows: int(y.rows)?,
                cols: int(y.cols)?,
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
            };
            // SAFETY: x and y have the same rows and columns; the grid covers y.
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match (x.dtype, y.dtype) {
        (F32, F32) => launch!(CopyF32F32),
        (F32, Bf16) => launch!(CopyF32Bf16),
        (Bf16, F32) => launch!(CopyBf16F32),
        (Bf16, Bf16) => launch!(CopyBf16Bf16),
        _ => Err(cx.types()),
    }
}
