//! `embed.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, I32},
    Result,
    cuda::{
        gpu::kernels::embed::{EMBED, EmbedArgs, THREADS},
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
};

/// Op::Embed; the tokenizer keeps the ids inside the table.
pub(in crate::cuda) fn embed(cx: &LowerCx<'_>, scale: f32) -> Result<Vec<BoundLaunch>> {
    let (ids, w, y) = (cx.read(0), cx.read(1), cx.write());
    cx.check_aligned(&[w, y])?;
    if (ids.dtype, w.dtype) != (I32, Bf16) || ids.rows != 1 {
        return Err(cx.types());
    }
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    let args = EmbedArgs {
        y: y.into(),
        ids: ids.dev(),
        w: w.dev(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        w_pitch: int(w.pitch)?,
        y_pitch: int(y.pitch)?,
        scale,
    };
    // SAFETY: the ids are one row, one for each row of y, and w has the columns of y; the program's caller gives ids
    // inside the table, as the CPU executor asks too; the grid covers y.
    unsafe { cx.launch_one_of(EMBED, &args, grid, 0) }
}
