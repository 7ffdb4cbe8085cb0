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

/// The kernel `entry` between a latent `[channels, positions]` and its tokens; which of x and y is which stands last.
macro_rules! launch {
    ($entry:ident, $cx:ident, $grid:ident, |$x:ident, $y:ident| $latent:ident to $tokens:ident) => {{
        let ($x, $y) = ($cx.read(0), $cx.write());
        let (x, y, channels, tokens) = ($x, $y, $latent.rows, $tokens.rows);
        check($cx, [x, y], channels)?;
        let entry = $entry {
            y: y.dev_mut(),
            x: x.dev(),
            channels: int(channels)?,
            frames: int($grid.frames)?,
            height: int($grid.height)?,
            width: int($grid.width)?,
            x_pitch: int(x.pitch)?,
            y_pitch: int(y.pitch)?,
        };
        // SAFETY: one of x and y is [channels, positions of the grid], the other [tokens of the grid, 4 channels], with
        // no more channels than the kernel holds; the grid covers the tokens.
        unsafe { $cx.launch(&entry, [blocks(tokens.div_ceil(TOKENS))?, 1, 1], 0) }
    }};
}

/// Op::Patchify.
pub(in crate::cuda) fn patchify(cx: &LowerCx<'_>, grid: Grid) -> Result<Vec<BoundLaunch>> {
    launch!(PatchifyF32, cx, grid, |x, y| x to y)
}

/// Op::Unpatchify.
pub(in crate::cuda) fn unpatchify(cx: &LowerCx<'_>, grid: Grid) -> Result<Vec<BoundLaunch>> {
    launch!(UnpatchifyF32, cx, grid, |x, y| y to x)
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
