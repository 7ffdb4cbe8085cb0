//! The TurboVAED decoder: one call, from de-normalised latents to frames. Reference:
//! `model/turbo_vaed/turbo_vaed_module.py`, `TurboVAEDDecoder3d`.
//!
//! The reference's class names say "causal", but the network is not: time is padded on both sides by repeating the
//! first and last frame of the call, space with zeros.

use super::{
    LATENT_CHANNELS, Ports, TurboConfig, Upsample, VaePrecision,
    turbo_block::{First, Style, conv2d, conv3d, norm_silu, residual, upsample},
};
use crate::plan::{Buf, Builder, Op, PixelOrder, Plan};

/// Extents of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallShape {
    /// Latent frames.
    pub frames: usize,
    /// Latent rows.
    pub height: usize,
    /// Latent columns.
    pub width: usize,
    /// Whether the call starts the video: its first latent frame gives one frame instead of four.
    pub first: bool,
}

/// One call: de-normalised latents `[frames, height, width, 48]` to frames
/// `[4 frames (- 3 if first), 16 height, 16 width, 3]`, nominally within -1 to 1 and not clamped.
pub fn decoder_call(
    config: &TurboConfig,
    precision: VaePrecision,
    shape: CallShape,
) -> (Plan, Ports) {
    let mut b = Builder::new();
    let extents = [shape.frames, shape.height, shape.width, LATENT_CHANNELS];
    let input = b.input("z", extents, precision.activations);
    let call = Decoder {
        config,
        precision,
        first: shape.first,
    };
    let output = b.scope("decoder", |b| {
        let x = conv3d(
            b,
            "conv_in.conv",
            input,
            config.widths[0],
            [3; 3],
            precision,
        );
        let mut x = b.segment("mid_block", |b| call.mid_block(b, x));
        for block in 0..config.widths.len() {
            x = b.segment(format_args!("up_blocks.{block}"), |b| {
                call.up_block(b, x, block)
            });
        }
        call.tail(b, x)
    });
    b.output(output);
    (b.finish(), Ports { input, output })
}

struct Decoder<'a> {
    config: &'a TurboConfig,
    precision: VaePrecision,
    first: bool,
}

impl Decoder<'_> {
    fn mid_block(&self, b: &mut Builder, x: Buf) -> Buf {
        let style = self.style(self.config.mid_depthwise, Op::Silu);
        residuals(b, x, self.config.mid_layers, &style)
    }

    /// A change of channels, then the upsampler, then the residual blocks.
    fn up_block(&self, b: &mut Builder, mut x: Buf, block: usize) -> Buf {
        let config = self.config;
        let width = config.widths[block];
        let depthwise = config.depthwise[block];
        if b.shape(x).cols() != width {
            let style = self.style(depthwise, Op::Silu);
            x = b.scope("conv_in", |b| residual(b, x, width, &style));
        }
        let first = if self.first { First::Yes } else { First::No };
        let time = match config.upsample[block] {
            Upsample::None => {
                return residuals(b, x, config.layers[block], &self.style(depthwise, Op::Silu));
            }
            Upsample::Space => None,
            Upsample::SpaceAndTime => Some(first),
        };
        x = b.scope("upsamplers.0", |b| upsample(b, x, time, self.precision));
        // After an upsampler the first activation of every residual block is relu.
        residuals(b, x, config.layers[block], &self.style(depthwise, Op::Relu))
    }

    fn tail(&self, b: &mut Builder, mut x: Buf) -> Buf {
        let p = self.precision;
        if !self.config.unpatchify {
            let channels = b.shape(x).cols();
            x = norm_silu(b, ["upsampler2d_1.norm", "upsampler2d_1.act"], x, p);
            x = conv2d(b, "upsampler2d_1.conv", x, channels, p);
            x = b.pixel_shuffle("upsampler2d_1", x, PixelOrder::RowMajor);
        }
        let x = norm_silu(b, ["norm_out", "conv_act"], x, p);
        if !self.config.unpatchify {
            return conv3d(b, "conv_out.conv", x, 3, [3; 3], p);
        }
        let x = conv3d(b, "conv_out.conv", x, 12, [3; 3], p);
        b.pixel_shuffle("unpatchify", x, PixelOrder::ColumnMajor)
    }

    fn style(&self, depthwise: bool, first_activation: Op) -> Style {
        Style {
            precision: self.precision,
            depthwise: depthwise.then_some(self.config.depthwise_kernel),
            first_activation,
            shortcut_eps: self.config.shortcut_eps,
        }
    }
}

fn residuals(b: &mut Builder, mut x: Buf, count: usize, style: &Style) -> Buf {
    let width = b.shape(x).cols();
    for i in 0..count {
        x = b.scope(format_args!("resnets.{i}"), |b| {
            residual(b, x, width, style)
        });
    }
    x
}
