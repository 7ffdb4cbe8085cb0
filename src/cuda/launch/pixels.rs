//! `pixels.cu`: pixels, frames and channels change places.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32, U8},
    Result,
    cuda::{
        gpu::kernels::pixels::{
            AverageDownBf16, AverageDownF32, BytesBf16, DuplicateUpBf16, DuplicateUpF32,
            FrameShuffleBf16, FrameShuffleF32, PixelShuffleBf16, PixelShuffleF32,
            PixelUnshuffleBf16, PixelUnshuffleF32, THREADS, UpsampleNearestBf16,
            UpsampleNearestF32,
        },
        lowering::{
            context::{Site, chunk_blocks, int},
            work::Sound,
        },
    },
    plan::{Op, PixelOrder},
};

/// Op::Bytes, and within one type Op::UpsampleNearest, Op::PixelShuffle, Op::PixelUnshuffle, Op::FrameShuffle, Op::AverageDown, Op::DuplicateUp.
pub(in crate::cuda) fn pixels(site: &Site<'_>) -> Result<Vec<Sound>> {
    let (x, y) = (site.read(0), site.write());
    site.check_aligned(&[x, y])?;
    if site.steps[0].op == Op::Bytes {
        return bytes(site);
    }
    let [x_frames, _, _, x_channels] = site.video(site.steps[0].reads[0])?;
    let [y_frames, height, width, cols] = site.video(site.steps[0].writes)?;
    let grid = chunk_blocks(y.rows, cols, THREADS)?;
    macro_rules! launch {
        ($bf16:ident, $f32:ident $(, $name:ident: $value:expr)*) => {
            match (x.dtype, y.dtype) {
                (Bf16, Bf16) => launch!(@ $bf16 $(, $name: $value)*),
                (F32, F32) => launch!(@ $f32 $(, $name: $value)*),
                _ => Err(site.types()),
            }
        };
        (@ $entry:ident $(, $name:ident: $value:expr)*) => {{
            let entry = $entry {
                y: y.dev_mut(),
                x: x.dev(),
                rows: int(y.rows)?,
                cols: int(cols)?,
                height: int(height)?,
                width: int(width)?,
                $($name: int($value)?,)*
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
            };
            // SAFETY: the extents of x follow from those of y by the op, and the kernel reads no others; the grid
            // covers y.
            unsafe { site.launch(&entry, grid, 0) }
        }};
    }
    match &site.steps[0].op {
        Op::UpsampleNearest => launch!(UpsampleNearestBf16, UpsampleNearestF32),
        Op::PixelShuffle(order) => {
            launch!(PixelShuffleBf16, PixelShuffleF32, row_step: row_step(*order))
        }
        Op::PixelUnshuffle(order) => {
            launch!(PixelUnshuffleBf16, PixelUnshuffleF32, row_step: row_step(*order))
        }
        Op::FrameShuffle => launch!(FrameShuffleBf16, FrameShuffleF32),
        &Op::AverageDown { frames, space } => launch!(
            AverageDownBf16, AverageDownF32,
            frames: frames,
            space: space,
            missing: y_frames * frames - x_frames,
            group: x_channels * frames * space * space / cols
        ),
        &Op::DuplicateUp { frames, space } => launch!(
            DuplicateUpBf16, DuplicateUpF32,
            frames: frames,
            space: space,
            group: cols * frames * space * space / x_channels
        ),
        op => panic!("{} moves no pixels", op.name()),
    }
}

fn bytes(site: &Site<'_>) -> Result<Vec<Sound>> {
    let (x, y) = (site.read(0), site.write());
    let [_, _, width, cols] = site.video(site.steps[0].reads[0])?;
    if (x.dtype, y.dtype) != (Bf16, U8) {
        return Err(site.types());
    }
    let entry = BytesBf16 {
        y: y.dev_mut(),
        x: x.dev(),
        rows: int(x.rows)?,
        cols: int(cols)?,
        width: int(width)?,
        x_pitch: int(x.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    // SAFETY: y has a row of `width * cols` for each `width` rows of x; the grid covers x.
    unsafe { site.launch(&entry, chunk_blocks(x.rows, cols, THREADS)?, 0) }
}

/// What a step down a row adds to the sub-position.
fn row_step(order: PixelOrder) -> usize {
    match order {
        PixelOrder::RowMajor => 2,
        PixelOrder::ColumnMajor => 1,
    }
}
