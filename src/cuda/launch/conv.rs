//! `conv.cu`: dense convolutions of videos and audio.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::conv::{CONV3D, Conv1dF32, Conv3dArgs, ConvTranspose1dF32, TILE_M, TILE_N},
            params::Conv1dShape,
        },
        lowering::{BoundLaunch, DeviceView, LowerCx, blocks, int},
    },
    plan::{Conv1d, Conv3d},
};

/// Op::Conv3d, all of one type.
pub(in crate::cuda) fn conv3d(cx: &LowerCx<'_>, conv: Conv3d) -> Result<Vec<BoundLaunch>> {
    let [x, w, b] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    cx.check_aligned(&[x, y])?;
    let args = Conv3dArgs {
        y: y.into(),
        x: x.into(),
        w: w.into(),
        b: b.into(),
        c: cx.conv_shape(conv)?,
        x_pitch: int(x.pitch)?,
        w_pitch: int(w.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = grid(y.rows, cx.video(cx.steps[0].writes)?[3], 1)?;
    // SAFETY: x and y have the extents given, w an element for each output, input and tap, and b one for each output;
    // the grid has a block for each tile of y, and the kernel reads x only inside its extents.
    unsafe { cx.launch_one_of(CONV3D, &args, grid, 0) }
}

/// Op::Conv1d in f32.
pub(in crate::cuda) fn conv1d(cx: &LowerCx<'_>, conv: Conv1d) -> Result<Vec<BoundLaunch>> {
    let ([x, w, y], b) = in_f32(cx)?;
    let taps = w.cols;
    // The largest index of x that any thread computes.
    int((y.rows + TILE_M) * conv.stride + taps * conv.dilation)?;
    let entry = Conv1dF32 {
        y: y.dev_mut(),
        x: x.dev(),
        w: w.dev(),
        b,
        c: shape([x, y], taps, conv)?,
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
    let ([x, w, y], b) = in_f32(cx)?;
    let conv = Conv1d {
        stride,
        dilation: 1,
        padding: stride / 2,
    };
    let entry = ConvTranspose1dF32 {
        y: y.dev_mut(),
        x: x.dev(),
        w: w.dev(),
        b,
        c: shape([x, y], 2 * stride, conv)?,
        x_pitch: int(x.pitch)?,
        w_pitch: int(w.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = grid(x.rows + 1, y.cols, stride)?;
    // SAFETY: w has an element for each input, output and of 2 * stride taps, and b one for each output; y has `stride`
    // rows for each of x, and the kernel writes no others; the grid has a block for each tile of each remainder.
    unsafe { cx.launch(&entry, grid, 0) }
}

/// x, w and y of a convolution of samples, all f32, and its bias or null.
fn in_f32(cx: &LowerCx<'_>) -> Result<([DeviceView; 3], Dev<f32>)> {
    let views = [cx.read(0), cx.read(1), cx.write()];
    let bias = cx.steps[0].reads.get(2).map(|&buf| cx.view(buf));
    if views.iter().chain(&bias).any(|view| view.dtype != F32) {
        return Err(cx.types());
    }
    cx.check_aligned(&[views[0], views[2]])?;
    Ok((views, bias.map_or(Dev::new(0), DeviceView::dev)))
}

fn shape([x, y]: [DeviceView; 2], taps: usize, conv: Conv1d) -> Result<Conv1dShape> {
    Ok(Conv1dShape {
        samples: int(x.rows)?,
        inputs: int(x.cols)?,
        out_samples: int(y.rows)?,
        outputs: int(y.cols)?,
        taps: int(taps)?,
        stride: int(conv.stride)?,
        dilation: int(conv.dilation)?,
        padding: int(conv.padding)?,
    })
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
