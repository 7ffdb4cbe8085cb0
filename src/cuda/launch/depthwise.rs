//! `depthwise.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::kernels::depthwise::{DepthwiseBf16, DepthwiseF32, THREADS},
        lowering::{
            context::{LowerCx, chunk_blocks, int},
            work::BoundLaunch,
        },
    },
    plan::{Conv3d, PaddingMode},
};

/// Op::Conv3d of each channel alone, all of one type.
pub(in crate::cuda) fn depthwise(cx: &LowerCx<'_>, conv: Conv3d) -> Result<Vec<BoundLaunch>> {
    let [x, v, b] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    if [x, v, b].iter().any(|view| view.dtype != y.dtype) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, b, y])?;
    let [frames, height, width, channels] = cx.video(cx.steps[0].reads[0])?;
    let [out_frames, out_height, out_width, _] = cx.video(cx.steps[0].writes)?;
    let [kernel_t, kernel_h, kernel_w] = cx.kernel_extents(cx.steps[0].reads[1])?;
    let grid = chunk_blocks(y.rows, channels, THREADS)?;
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                x: x.dev(),
                v: v.dev(),
                b: b.dev(),
                frames: int(frames)?,
                height: int(height)?,
                width: int(width)?,
                channels: int(channels)?,
                out_frames: int(out_frames)?,
                out_height: int(out_height)?,
                out_width: int(out_width)?,
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
                v_pitch: int(v.pitch)?,
                y_pitch: int(y.pitch)?,
            };
            // SAFETY: x and y have the extents given, v an element for each channel and tap, and b one for each
            // channel; the grid covers y, and the kernel reads x only inside its extents.
            unsafe { cx.launch(&entry, grid, 0) }
        }};
    }
    match y.dtype {
        Bf16 => launch!(DepthwiseBf16),
        F32 => launch!(DepthwiseF32),
        _ => Err(cx.types()),
    }
}
