//! `embed.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32, I32},
    Result,
    cuda::{
        gpu::kernels::embed::{EmbedBf16, EmbedF32, THREADS},
        lowering::{
            context::{LowerCx, chunk_blocks, int},
            work::BoundLaunch,
        },
    },
};

/// Op::Embed; the ids are the text's, which the tokenizer keeps inside the table.
pub(in crate::cuda) fn embed(cx: &LowerCx<'_>, scale: f32) -> Result<Vec<BoundLaunch>> {
    let (ids, w, y) = (cx.read(0), cx.read(1), cx.write());
    cx.check_aligned(&[w, y])?;
    if (ids.dtype, w.dtype) != (I32, Bf16) || ids.rows != 1 {
        return Err(cx.types());
    }
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                ids: ids.dev(),
                w: w.dev(),
                rows: int(y.rows)?,
                cols: int(y.cols)?,
                w_pitch: int(w.pitch)?,
                y_pitch: int(y.pitch)?,
                scale,
            };
            // SAFETY: there are as many ids, in one row, as y has rows, and w has the columns of y; the program's caller
            // gives ids of the table, as the CPU asks too; the grid covers y.
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match y.dtype {
        Bf16 => launch!(EmbedBf16),
        F32 => launch!(EmbedF32),
        _ => Err(cx.types()),
    }
}
