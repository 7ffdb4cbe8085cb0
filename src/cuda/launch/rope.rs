//! `rope.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::kernels::rope::{ROPE, RopeArgs, THREADS},
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
};

/// Op::Rope of `heads` in each row.
pub(in crate::cuda) fn rope(cx: &mut LowerCx<'_>, heads: usize) -> Result<Vec<BoundLaunch>> {
    let (x, table, y) = (cx.read(0), cx.read(1), cx.write());
    let (head, half) = (x.cols / heads, table.cols / 2);
    if !head.is_multiple_of(8) || !half.is_multiple_of(8) || table.cols != 2 * half {
        return Err(cx.refusal("heads and half of the table must be multiples of 8 columns"));
    }
    cx.check_aligned(&[x, table, y])?;
    if y.dtype != Bf16 {
        return Err(cx.types());
    }
    let grid = chunk_blocks(x.rows, x.cols, THREADS)?;
    let args = RopeArgs {
        y: y.dev_mut(),
        x: x.into(),
        table: table.into(),
        rows: int(x.rows)?,
        heads: int(heads)?,
        head: int(head)?,
        half: int(half)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
        table_pitch: int(table.pitch)?,
    };
    // SAFETY: x and y have the same rows of `heads * head` columns and the table as many rows of `2 half`, at most a
    // head; y and x are different buffers, because this step still reads x; the grid covers x.
    unsafe { cx.launch_one_of(ROPE, &args, grid, 0) }
}
