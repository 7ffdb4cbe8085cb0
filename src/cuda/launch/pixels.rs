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
            context::{LowerCx, chunk_blocks, int},
            work::BoundLaunch,
        },
    },
    plan::{Op, PixelOrder},
};

/// Op::Bytes, and within one type Op::UpsampleNearest, Op::PixelShuffle, Op::PixelUnshuffle, Op::FrameShuffle, Op::AverageDown, Op::DuplicateUp.
pub(in crate::cuda) fn pixels(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, y) = (cx.read(0), cx.write());
    cx.check_aligned(&[x, y])?;
    if cx.steps[0].op == Op::Bytes {
        return bytes(cx);
    }
    let [x_frames, _, _, x_channels] = cx.video(cx.steps[0].reads[0])?;
    let [y_frames, height, width, cols] = cx.video(cx.steps[0].writes)?;
    let grid = chunk_blocks(y.rows, cols, THREADS)?;
    macro_rules! launch {
        ($bf16:ident, $f32:ident $(, $name:ident: $value:expr)*) => {
            match (x.dtype, y.dtype) {
                (Bf16, Bf16) => launch!(@ $bf16 $(, $name: $value)*),
                (F32, F32) => launch!(@ $f32 $(, $name: $value)*),
                _ => Err(cx.types()),
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
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match &cx.steps[0].op {
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

fn bytes(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, y) = (cx.read(0), cx.write());
    let [_, _, width, cols] = cx.video(cx.steps[0].reads[0])?;
    if (x.dtype, y.dtype) != (Bf16, U8) {
        return Err(cx.types());
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
    unsafe { cx.launch(&entry, chunk_blocks(x.rows, cols, THREADS)?, 0) }
}

/// What a step down a row adds to the sub-position.
fn row_step(order: PixelOrder) -> usize {
    match order {
        PixelOrder::RowMajor => 2,
        PixelOrder::ColumnMajor => 1,
    }
}
