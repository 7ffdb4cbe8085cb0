//! Layers of encoder and decoder: weight-normalised convolutions, snake activations, residual units.

use crate::{
    DType,
    plan::{Buf, Builder, Conv1d, Kernel1d},
};

/// Dilations of the three residual units of a stage.
const DILATIONS: [usize; 3] = [1, 3, 9];
/// Taps of the dilated convolution of a residual unit.
const UNIT_TAPS: usize = 7;

/// Receptive field of a stage's residual units on either side of a sample.
pub(super) const UNITS_REACH: usize =
    (UNIT_TAPS / 2) * (DILATIONS[0] + DILATIONS[1] + DILATIONS[2]);

/// Kernel `[out, in, taps]` of a convolution; the builder's scope is its name.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) taps: usize,
    pub(super) bias: bool,
}

impl Kernel {
    /// With a bias.
    pub(super) fn new([inputs, outputs]: [usize; 2], taps: usize) -> Self {
        Self {
            inputs,
            outputs,
            taps,
            bias: true,
        }
    }

    fn buffers(self, p: &mut Builder, shape: [usize; 3]) -> Kernel1d {
        Kernel1d {
            weight: p.weight_norm("", shape),
            bias: self
                .bias
                .then(|| p.weight("bias", [self.outputs], DType::F32)),
        }
    }
}

/// Convolution of stride 1 that keeps the length: zeros on both sides.
pub(super) fn conv(p: &mut Builder, x: Buf, kernel: Kernel, dilation: usize) -> Buf {
    let geometry = Conv1d {
        stride: 1,
        dilation,
        padding: dilation * (kernel.taps - 1) / 2,
    };
    let weights = kernel.buffers(p, [kernel.outputs, kernel.inputs, kernel.taps]);
    p.conv1d("", x, weights, geometry)
}

/// Convolution of kernel `2 stride` that divides the length by `stride`.
pub(super) fn conv_down(
    p: &mut Builder,
    x: Buf,
    [inputs, outputs]: [usize; 2],
    stride: usize,
) -> Buf {
    let kernel = Kernel::new([inputs, outputs], 2 * stride);
    let geometry = Conv1d {
        stride,
        dilation: 1,
        padding: stride / 2,
    };
    let weights = kernel.buffers(p, [outputs, inputs, kernel.taps]);
    p.conv1d("", x, weights, geometry)
}

/// Transposed convolution of kernel `2 stride` that multiplies the length by `stride`. Its weight is stored as `[in,
/// out, taps]`, so it is normalised per input channel.
pub(super) fn conv_up(
    p: &mut Builder,
    x: Buf,
    [inputs, outputs]: [usize; 2],
    stride: usize,
) -> Buf {
    let kernel = Kernel::new([inputs, outputs], 2 * stride);
    let weights = kernel.buffers(p, [inputs, outputs, kernel.taps]);
    p.conv_transpose1d("", x, weights, stride)
}

/// The three residual units of a stage, `layers.FIRST` and following: each `x + conv1(snake(conv7(snake(x))))`.
pub(super) fn residual_units(p: &mut Builder, mut x: Buf, first: usize) -> Buf {
    for (i, dilation) in DILATIONS.into_iter().enumerate() {
        x = p.scope(format_args!("layers.{}", first + i), |p| {
            let channels = p.shape(x).cols();
            let kernel = |taps| Kernel::new([channels; 2], taps);
            let y = p.snake("layers.0", x);
            let y = p.scope("layers.1", |p| conv(p, y, kernel(UNIT_TAPS), dilation));
            let y = p.snake("layers.2", y);
            let y = p.scope("layers.3", |p| conv(p, y, kernel(1), 1));
            p.add("", x, y, DType::F32)
        });
    }
    x
}
