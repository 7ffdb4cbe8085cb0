//! Blocks of the TurboVAED decoder: convolutions with replicated first and last frame, norms without weight, residual
//! blocks, upsamplers.

use super::{VaePrecision, extents};
use crate::plan::{Buf, Builder, Conv3d, Norm, Op, PaddingMode};

/// Added to the mean square in every norm but a shortcut's.
const EPS: f32 = 1e-8;

/// What the residual blocks of one stage share.
#[derive(Clone)]
pub(super) struct Style {
    pub(super) precision: VaePrecision,
    /// Extent of the depthwise kernels; `None` where convolutions are dense.
    pub(super) depthwise: Option<usize>,
    /// The first of the two activations.
    pub(super) first_activation: Op,
    pub(super) shortcut_eps: f32,
}

/// The residual block of the present scope, to `out` channels.
pub(super) fn residual(b: &mut Builder, x: Buf, out: usize, style: &Style) -> Buf {
    let p = style.precision;
    let h = norm(b, "norm1", x, EPS, p);
    let h = b.map("act1", style.first_activation.clone(), h, p.activations);
    let h = style.conv(b, "conv1", h, out, 3);
    let h = norm_silu(b, ["norm2", "act2"], h, p);
    let h = style.conv(b, "conv2", h, out, 3);
    let shortcut = if extents(b, x)[3] == out {
        x
    } else {
        let s = norm(b, "norm3", x, style.shortcut_eps, p);
        style.conv(b, "conv_shortcut", s, out, 1)
    };
    b.add("", h, shortcut, p.activations)
}

impl Style {
    /// A convolution of a residual block, or the depthwise and pointwise pair in its place.
    fn conv(&self, b: &mut Builder, name: &str, x: Buf, out: usize, size: usize) -> Buf {
        let Some(kernel) = self.depthwise else {
            let name = format!("{name}.conv");
            return conv3d(b, &name, x, out, [size; 3], self.precision);
        };
        let channels = extents(b, x)[3];
        let kernel = if size == 1 { 1 } else { kernel };
        let conv = Conv3d {
            depthwise: true,
            ..replicating([kernel; 3])
        };
        let shape = [channels, 1, kernel, kernel, kernel];
        let alone = self.precision.kernel(&shape, conv);
        let x = b.conv3d(&format!("{name}.depthwise_conv"), x, alone);
        let name = format!("{name}.pointwise_conv");
        conv3d(b, &name, x, out, [1; 3], self.precision)
    }
}

/// The upsampler of the present scope: frames doubled if `time` is set, the first of them dropped if the video
/// starts here, then height and width doubled.
pub(super) fn upsample(b: &mut Builder, x: Buf, time: Option<First>, p: VaePrecision) -> Buf {
    let channels = extents(b, x)[3];
    let x = match time {
        None => x,
        Some(first) => {
            let pairs = conv3d(b, "time_conv.conv", x, 2 * channels, [3, 1, 1], p);
            let frames = b.frame_shuffle("frames", pairs);
            match first {
                First::No => frames,
                First::Yes => {
                    let count = extents(b, frames)[0];
                    b.frames(frames, 1..count)
                }
            }
        }
    };
    let x = b.upsample_nearest("resample.0", x);
    conv2d(b, "resample.1", x, channels, p)
}

/// Whether a call starts the video.
#[derive(Clone, Copy)]
pub(super) enum First {
    Yes,
    No,
}

/// Norm and silu.
pub(super) fn norm_silu(b: &mut Builder, names: [&str; 2], x: Buf, p: VaePrecision) -> Buf {
    let x = norm(b, names[0], x, EPS, p);
    b.map(names[1], Op::Silu, x, p.activations)
}

fn norm(b: &mut Builder, name: &str, x: Buf, eps: f32, p: VaePrecision) -> Buf {
    let (rows, width) = (b.shape(x).rows(), b.shape(x).cols());
    let norm = Norm::new(width, eps, None, p.activations);
    b.rms_norm(name, x, &[rows], norm)
}

/// A convolution with frames repeated at both ends.
pub(super) fn conv3d(
    b: &mut Builder,
    name: &str,
    x: Buf,
    out: usize,
    kernel: [usize; 3],
    p: VaePrecision,
) -> Buf {
    let [frames, rows, cols] = kernel;
    let shape = [out, extents(b, x)[3], frames, rows, cols];
    b.conv3d(name, x, p.kernel(&shape, replicating(kernel)))
}

/// A 3x3 convolution of every frame alone.
pub(super) fn conv2d(b: &mut Builder, name: &str, x: Buf, out: usize, p: VaePrecision) -> Buf {
    let shape = [out, extents(b, x)[3], 3, 3];
    b.conv3d(name, x, p.kernel(&shape, replicating([1, 3, 3])))
}

fn replicating(kernel: [usize; 3]) -> Conv3d {
    Conv3d::same(kernel, kernel[0] / 2, kernel[0] / 2, PaddingMode::Replicate)
}
