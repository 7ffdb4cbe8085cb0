//! `pixels.cu`: rearranges pixels, frames and channels.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, U8},
    Result,
    cuda::{
        gpu::{
            kernels::pixels::{
                AVERAGE_DOWN, AverageDownArgs, BytesBf16, DUPLICATE_UP, DuplicateUpArgs,
                FRAME_SHUFFLE, FrameShuffleArgs, PIXEL_SHUFFLE, PIXEL_UNSHUFFLE, PixelShuffleArgs,
                PixelUnshuffleArgs, THREADS, UPSAMPLE_NEAREST, UpsampleNearestArgs,
            },
            params::PixelShape,
        },
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
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
        ($all:ident, $args:ident $(, $name:ident: $value:expr)*) => {{
            let args = $args {
                y: y.into(),
                x: x.into(),
                shape: PixelShape {
                    rows: int(y.rows)?,
                    cols: int(cols)?,
                    height: int(height)?,
                    width: int(width)?,
                },
                $($name: int($value)?,)*
                x_pitch: int(x.pitch)?,
                y_pitch: int(y.pitch)?,
            };
            // SAFETY: the extents of x follow from those of y by the op, and the kernel reads no others; the grid
            // covers y.
            unsafe { cx.launch_one_of($all, &args, grid, 0) }
        }};
    }
    match &cx.steps[0].op {
        Op::UpsampleNearest => launch!(UPSAMPLE_NEAREST, UpsampleNearestArgs),
        Op::PixelShuffle(order) => {
            launch!(PIXEL_SHUFFLE, PixelShuffleArgs, row_step: row_step(*order))
        }
        Op::PixelUnshuffle(order) => {
            launch!(PIXEL_UNSHUFFLE, PixelUnshuffleArgs, row_step: row_step(*order))
        }
        Op::FrameShuffle => launch!(FRAME_SHUFFLE, FrameShuffleArgs),
        &Op::AverageDown { frames, space } => launch!(
            AVERAGE_DOWN, AverageDownArgs,
            frames: frames,
            space: space,
            missing: y_frames * frames - x_frames,
            group: x_channels * frames * space * space / cols
        ),
        &Op::DuplicateUp { frames, space } => launch!(
            DUPLICATE_UP, DuplicateUpArgs,
            frames: frames,
            space: space,
            group: cols * frames * space * space / x_channels
        ),
        op => panic!("pixel lowering called with {}", op.name()),
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
