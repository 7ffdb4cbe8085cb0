//! `linear_f32.cu`: grouped GEMMs in f32, for the first and last layers of the model.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::linear_f32::{LinearF32, TILE_M, TILE_N},
        },
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
};

/// Op::Linear, all f32.
pub(in crate::cuda) fn linear(cx: &mut LowerCx<'_>, ends: &[usize]) -> Result<Vec<BoundLaunch>> {
    let (x, w, y) = (cx.read(0), cx.read(1), cx.write());
    let bias = cx.steps[0].reads.get(2).map(|&buf| cx.view(buf));
    let views = [x, w, y];
    if views.iter().chain(&bias).any(|view| view.dtype != F32) {
        return Err(cx.types());
    }
    cx.check_aligned(&views)?;
    let starts = [0].iter().chain(ends);
    let row_tiles = starts
        .zip(ends)
        .map(|(start, end)| (end - start).div_ceil(TILE_M));
    let grid = [
        blocks(y.cols.div_ceil(TILE_N))?,
        blocks(row_tiles.sum())?,
        1,
    ];
    let entry = LinearF32 {
        y: y.dev_mut(),
        x: x.dev(),
        w: w.dev(),
        b: bias.map_or(Dev::new(0), |bias| bias.dev()),
        ends: cx.ends(ends)?,
        n: int(y.cols)?,
        k: int(x.cols)?,
        x_pitch: int(x.pitch)?,
        w_pitch: int(w.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: x is [rows, k] and y [rows, n]; w has n rows of k and b n elements for each of the groups that `ends`
    // lists, and the last of these ends with the rows; the grid has a block for each tile of each group.
    unsafe { cx.launch(&entry, grid, 0) }
}
