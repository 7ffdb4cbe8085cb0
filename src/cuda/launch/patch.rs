//! `patch.cu`: latents to tokens and back.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::kernels::patch::{MAX_CHANNELS, PatchifyF32, TOKENS, UnpatchifyF32},
        lowering::{BoundLaunch, DeviceView, LowerCx, blocks, int},
    },
    plan::Grid,
};

/// Op::Patchify.
pub(in crate::cuda) fn patchify(cx: &LowerCx<'_>, grid: Grid) -> Result<Vec<BoundLaunch>> {
    let (x, y) = (cx.read(0), cx.write());
    check(cx, [x, y], x.rows)?;
    let entry = PatchifyF32 {
        y: y.dev_mut(),
        x: x.dev(),
        channels: int(x.rows)?,
        frames: int(grid.frames)?,
        height: int(grid.height)?,
        width: int(grid.width)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: x is [channels, positions of the grid] and y [tokens of the grid, 4 channels], with no more channels than
    // the kernel holds; the grid covers the tokens.
    unsafe { cx.launch(&entry, [blocks(y.rows.div_ceil(TOKENS))?, 1, 1], 0) }
}

/// Op::Unpatchify.
pub(in crate::cuda) fn unpatchify(cx: &LowerCx<'_>, grid: Grid) -> Result<Vec<BoundLaunch>> {
    let (x, y) = (cx.read(0), cx.write());
    check(cx, [x, y], y.rows)?;
    let entry = UnpatchifyF32 {
        y: y.dev_mut(),
        x: x.dev(),
        channels: int(y.rows)?,
        frames: int(grid.frames)?,
        height: int(grid.height)?,
        width: int(grid.width)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: as in `patchify`, x and y the other way round.
    unsafe { cx.launch(&entry, [blocks(x.rows.div_ceil(TOKENS))?, 1, 1], 0) }
}

fn check(cx: &LowerCx<'_>, views: [DeviceView; 2], channels: usize) -> Result<()> {
    cx.check_aligned(&views)?;
    if views.iter().any(|view| view.dtype != F32) {
        return Err(cx.types());
    }
    if channels > MAX_CHANNELS {
        return Err(cx.refusal("it takes at most 48 channels"));
    }
    Ok(())
}
