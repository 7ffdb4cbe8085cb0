//! The encoder of the Wan2.2 autoencoder: frames to latents, the whole sequence at once. Reference:
//! `model/vae2_2/vae2_2_module.py`, `Encoder3d`.
//!
//! The reference feeds one frame and then groups of four through caches. Every convolution is causal, with zeros in
//! front of the first frame, so the whole-sequence form gives the same numbers.

use super::{
    Ports, VaePrecision, WanConfig, extents,
    wan_block::{causal, head, middle, residual},
};
use crate::plan::{Buf, Builder, Conv3d, Op, PaddingMode, PixelOrder, Plan};

/// Frames `[frames, height, width, 3]` in [-1, 1] to the mean of the latents `[1 + (frames - 1) / 4, height / 16,
/// width / 16, 48]`, not yet normalised. Nothing is sampled.
///
/// # Panics
/// If `frames` is not one more than a multiple of 4, or height or width is not a multiple of 16.
pub fn encode(
    config: &WanConfig,
    precision: VaePrecision,
    frames: usize,
    height: usize,
    width: usize,
) -> (Plan, Ports) {
    assert!(
        frames % config.temporal_ratio() == 1,
        "{frames} frames are not one and groups of {}",
        config.temporal_ratio()
    );
    let (mut b, p) = (Builder::new(), precision);
    let input = b.input("video", [frames, height, width, 3], p.activations);
    let moments = b.scope("encoder", |b| {
        let x = b.pixel_unshuffle("patchify", input, PixelOrder::ColumnMajor);
        let mut x = causal(b, "conv1", x, config.dim, [3; 3], p);
        for (level, out) in config.encoder_widths().into_iter().skip(1).enumerate() {
            x = b.segment(format_args!("downsamples.{level}"), |b| {
                let down = config.temporal_downsample.get(level).copied();
                down_level(b, x, out, (config.num_res_blocks, down), p)
            });
        }
        let x = middle(b, x, p);
        head(b, x, 2 * config.z_dim, p)
    });
    let moments = causal(&mut b, "conv1", moments, 2 * config.z_dim, [1; 3], p);
    let [frames, height, width, _] = extents(&b, moments);
    let output = b.assemble("mu", [frames, height, width, config.z_dim], p.activations);
    let mean = b.cols(moments, 0..config.z_dim);
    b.at(output).map("mu", Op::Copy, mean, p.activations);
    b.output(output);
    (b.finish(), Ports { input, output })
}

/// Residual blocks and, if `down` says whether frames are halved too, a downsampler; plus averages of the input
/// (`AvgDown3D`).
fn down_level(
    b: &mut Builder,
    x: Buf,
    out: usize,
    (blocks, down): (usize, Option<bool>),
    p: VaePrecision,
) -> Buf {
    let mut h = x;
    for i in 0..blocks {
        h = residual(b, &format!("downsamples.{i}"), h, out, p);
    }
    let cell = match down {
        None => [1, 1],
        Some(time) => {
            h = b.scope(format_args!("downsamples.{blocks}"), |b| {
                down_sample(b, h, time, p)
            });
            [if time { 2 } else { 1 }, 2]
        }
    };
    let average = if cell == [1, 1] && extents(b, x)[3] == out {
        x
    } else {
        b.average_down("avg_shortcut", x, out, cell)
    };
    b.add("", h, average, p.activations)
}

/// Halves height and width, padding only right and below; with `time` also the frames but the first, which passes
/// unchanged.
fn down_sample(b: &mut Builder, x: Buf, time: bool, p: VaePrecision) -> Buf {
    let channels = extents(b, x)[3];
    let halving = |stride, after| Conv3d {
        stride,
        before: [0; 3],
        after,
        time_padding: PaddingMode::Zero,
        depthwise: false,
    };
    let space = halving([1, 2, 2], [0, 1, 1]);
    let shape = [channels, channels, 3, 3];
    let x = b.conv3d("resample.1", x, p.kernel(&shape, space));
    let [frames, height, width, _] = extents(b, x);
    if !time || frames == 1 {
        return x;
    }
    let pairs = frames / 2;
    let result = b.assemble("", [1 + pairs, height, width, channels], p.activations);
    let (from, first) = (b.frames(x, 0..1), b.frames(result, 0..1));
    b.at(first).map("first", Op::Copy, from, p.activations);
    let rest = b.frames(result, 1..1 + pairs);
    let time = halving([2, 1, 1], [0; 3]);
    let kernel = [channels, channels, 3, 1, 1];
    b.at(rest).conv3d("time_conv", x, p.kernel(&kernel, time));
    result
}
