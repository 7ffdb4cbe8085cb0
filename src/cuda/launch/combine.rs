//! `combine.cu`: sums, weighted or not.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::combine::{ADD, AddArgs, CombineF32, INPUTS, THREADS},
        },
        lowering::{BoundLaunch, LowerCx, blocks, chunk_blocks, int},
    },
};

/// Op::Combine of up to five f32 inputs.
pub(in crate::cuda) fn combine(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (c, y) = (cx.read(0), cx.write());
    let inputs: Vec<_> = (1..cx.steps[0].reads.len()).map(|i| cx.read(i)).collect();
    let alike = inputs
        .iter()
        .all(|x| (x.rows, x.cols, x.pitch, x.dtype) == (y.rows, y.cols, y.pitch, F32));
    if inputs.len() > INPUTS || !alike || (c.dtype, y.dtype) != (F32, F32) {
        return Err(cx.refusal("it takes at most five f32 inputs of the same shape"));
    }
    cx.check_aligned(&inputs)?;
    cx.check_aligned(&[y])?;
    let (groups, share) = (c.cols, y.rows / c.cols);
    let input = |i: usize| inputs.get(i).map_or(Dev::new(0), |x| x.dev());
    let entry = CombineF32 {
        y: y.dev_mut(),
        c: c.dev(),
        x0: input(0),
        x1: input(1),
        x2: input(2),
        x3: input(3),
        x4: input(4),
        share: int(share)?,
        cols: int(y.cols)?,
        pitch: int(y.pitch)?,
    };
    let [x, ..] = chunk_blocks(share, y.cols, THREADS)?;
    // SAFETY: y and the inputs given have the same rows, columns and pitch; c has a row for each input, at a pitch of its
    // columns rounded up to 8, and `groups` columns that divide the rows evenly; the grid covers each group.
    unsafe { cx.launch(&entry, [x, blocks(groups)?, 1], 0) }
}

/// Op::Add.
pub(in crate::cuda) fn add(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, z, y) = (cx.read(0), cx.read(1), cx.write());
    cx.check_aligned(&[x, z, y])?;
    let grid = chunk_blocks(y.rows, y.cols, THREADS)?;
    let args = AddArgs {
        y: y.into(),
        x: x.into(),
        z: z.into(),
        rows: int(y.rows)?,
        cols: int(y.cols)?,
        x_pitch: int(x.pitch)?,
        z_pitch: int(z.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: all three have the same rows and columns; the grid covers y.
    unsafe { cx.launch_one_of(ADD, &args, grid, 0) }
}
