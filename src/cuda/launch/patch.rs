//! `patch.cu`: latents to tokens and back.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::kernels::patch::{MAX_CHANNELS, PatchifyF32, TOKENS, UnpatchifyF32},
        lowering::{
            arena::View,
            context::{Site, blocks, int},
            work::Sound,
        },
    },
    plan::Grid,
};

/// Op::Patchify.
pub(in crate::cuda) fn patchify(site: &Site<'_>, grid: Grid) -> Result<Vec<Sound>> {
    let (x, y) = (site.read(0), site.write());
    check(site, [x, y], x.rows)?;
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
    // SAFETY: x is [channels, positions of the grid] and y [tokens of the grid, 4 channels], channels at most as many as
    // the kernel has room for; the grid covers the tokens.
    unsafe { site.launch(&entry, [blocks(y.rows.div_ceil(TOKENS))?, 1, 1], 0) }
}

/// Op::Unpatchify.
pub(in crate::cuda) fn unpatchify(site: &Site<'_>, grid: Grid) -> Result<Vec<Sound>> {
    let (x, y) = (site.read(0), site.write());
    check(site, [x, y], y.rows)?;
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
    unsafe { site.launch(&entry, [blocks(x.rows.div_ceil(TOKENS))?, 1, 1], 0) }
}

fn check(site: &Site<'_>, views: [View; 2], channels: usize) -> Result<()> {
    site.check_aligned(&views)?;
    if views.iter().any(|view| view.dtype != F32) {
        return Err(site.types());
    }
    if channels > MAX_CHANNELS {
        return Err(site.refusal("it takes at most 48 channels"));
    }
    Ok(())
}
