//! `conv.cu`: dense convolutions of videos and sounds.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::conv::{Conv1dF32, Conv3dBf16, Conv3dF32, ConvTranspose1dF32, TILE_M, TILE_N},
        },
        lowering::{
            context::{LowerCx, blocks, int},
            work::BoundLaunch,
        },
    },
    plan::{Conv1d, Conv3d, PaddingMode},
};

/// Op::Conv3d, all of one type.
pub(in crate::cuda) fn conv3d(cx: &LowerCx<'_>, conv: Conv3d) -> Result<Vec<BoundLaunch>> {
    let [x, w, b] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    if [x, w, b].iter().any(|view| view.dtype != y.dtype) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, y])?;
    let [frames, height, width, inputs] = cx.video(cx.steps[0].reads[0])?;
    let [out_frames, out_height, out_width, outputs] = cx.video(cx.steps[0].writes)?;
    let [kernel_t, kernel_h, kernel_w] = cx.kernel_extents(cx.steps[0].reads[1])?;
    let grid = grid(y.rows, outputs, 1)?;
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                x: x.dev(),
                w: w.dev(),
                b: b.dev(),
                frames: int(frames)?,
                height: int(height)?,
                width: int(width)?,
                inputs: int(inputs)?,
                out_frames: int(out_frames)?,
                out_height: int(out_height)?,
                out_width: int(out_width)?,
                outputs: int(outputs)?,
                kernel_t: int(kernel_t)?,
                kernel_h: int(kernel_h)?,
                kernel_w: int(kernel_w)?,
                stride_t: int(conv.stride[0])?,
                stride_h: int(conv.stride[1])?,
                stride_w: int(conv.stride[2])?,
                before_t: int(conv.before[0])?,
                before_h: int(conv.before[1])?,
                before_w: int(conv.before[2])?,
                replicate: i32::from(conv.time_padding == PaddingMode::Replicate),
                x_pitch: int(x.pitch)?,
                w_pitch: int(w.pitch)?,
                y_pitch: int(y.pitch)?,
            };
            // SAFETY: x and y have the extents given, w an element for each output, input and tap, and b one for each
            // output; the grid has a block for each tile of y, and the kernel reads x only inside its extents.
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match y.dtype {
        Bf16 => launch!(Conv3dBf16),
        F32 => launch!(Conv3dF32),
        _ => Err(cx.types()),
    }
}

/// Op::Conv1d in f32.
pub(in crate::cuda) fn conv1d(cx: &LowerCx<'_>, conv: Conv1d) -> Result<Vec<BoundLaunch>> {
    let (x, w, y) = (cx.read(0), cx.read(1), cx.write());
    let bias = cx.steps[0].reads.get(2).map(|&buf| cx.view(buf));
    if [x, w, y].iter().chain(&bias).any(|view| view.dtype != F32) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, y])?;
    let taps = w.cols;
    // The largest index of x that any thread computes.
    int((y.rows + TILE_M) * conv.stride + taps * conv.dilation)?;
    let entry = Conv1dF32 {
        y: y.dev_mut(),
        x: x.dev(),
        w: w.dev(),
        b: bias.map_or(Dev::new(0), |bias| bias.dev()),
        samples: int(x.rows)?,
        inputs: int(x.cols)?,
        out_samples: int(y.rows)?,
        outputs: int(y.cols)?,
        taps: int(taps)?,
        stride: int(conv.stride)?,
        dilation: int(conv.dilation)?,
        padding: int(conv.padding)?,
        x_pitch: int(x.pitch)?,
        w_pitch: int(w.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = grid(y.rows, y.cols, 1)?;
    // SAFETY: w has an element for each output, input and tap, and b one for each output; the grid has a block for each
    // tile of y, and the kernel reads x only inside its samples.
    unsafe { cx.launch(&entry, grid, 0) }
}

/// Op::ConvTranspose1d in f32.
pub(in crate::cuda) fn conv_transpose1d(
    cx: &LowerCx<'_>,
    stride: usize,
) -> Result<Vec<BoundLaunch>> {
    let (x, w, y) = (cx.read(0), cx.read(1), cx.write());
    let bias = cx.steps[0].reads.get(2).map(|&buf| cx.view(buf));
    if [x, w, y].iter().chain(&bias).any(|view| view.dtype != F32) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, y])?;
    let entry = ConvTranspose1dF32 {
        y: y.dev_mut(),
        x: x.dev(),
        w: w.dev(),
        b: bias.map_or(Dev::new(0), |bias| bias.dev()),
        samples: int(x.rows)?,
        inputs: int(x.cols)?,
        outputs: int(y.cols)?,
        stride: int(stride)?,
        x_pitch: int(x.pitch)?,
        w_pitch: int(w.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = grid(x.rows + 1, y.cols, stride)?;
    // SAFETY: w has an element for each input, output and of 2 * stride taps, and b one for each output; y has `stride`
    // rows for each of x, and the kernel writes no others; the grid has a block for each tile of each remainder.
    unsafe { cx.launch(&entry, grid, 0) }
}

/// A block for each tile; positions of the last one are counted beyond their end.
fn grid(positions: usize, outputs: usize, phases: usize) -> Result<[u32; 3]> {
    int(positions + TILE_M)?;
    Ok([
        blocks(positions.div_ceil(TILE_M))?,
        blocks(outputs.div_ceil(TILE_N))?,
        blocks(phases)?,
    ])
}
