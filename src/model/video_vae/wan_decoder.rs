//! The decoder of the Wan2.2 autoencoder: latents to frames, the whole sequence at once. It is causal, so decoding
//! frame by frame through caches, as the reference does, gives the same numbers. Reference:
//! `model/vae2_2/vae2_2_module.py`, `Decoder3d`.

use super::{
    Ports, VaePrecision, WanConfig, extents,
    wan_block::{causal, conv2d, head, middle, residual},
};
use crate::plan::{Buf, Builder, Op, PixelOrder, Plan};

/// De-normalised latents `[frames, height, width, 48]` to frames
/// `[4 (frames - 1) + 1, 16 height, 16 width, 3]`, clamped to -1 to 1.
pub fn decode(
    config: &WanConfig,
    precision: VaePrecision,
    frames: usize,
    height: usize,
    width: usize,
) -> (Plan, Ports) {
    let (mut b, p) = (Builder::new(), precision);
    let input = b.input("z", [frames, height, width, config.z_dim], p.activations);
    let x = causal(&mut b, "conv2", input, config.z_dim, [1; 3], p);
    let widths = config.decoder_widths();
    let patch = config.patch_size * config.patch_size;
    let output = b.scope("decoder", |b| {
        let x = causal(b, "conv1", x, widths[0], [3; 3], p);
        let mut x = middle(b, x, p);
        for (level, &out) in widths[1..].iter().enumerate() {
            x = b.segment(format_args!("upsamples.{level}"), |b| {
                let up = config.temporal_downsample.iter().rev().nth(level).copied();
                up_level(b, x, out, (config.num_res_blocks + 1, up), p)
            });
        }
        let x = head(b, x, 3 * patch, p);
        let x = b.pixel_shuffle("unpatchify", x, PixelOrder::ColumnMajor);
        let range = Op::Clamp {
            low: -1.0,
            high: 1.0,
        };
        b.map("clamp", range, x, p.activations)
    });
    b.output(output);
    (b.finish(), Ports { input, output })
}

/// Residual blocks and, if `up` says whether frames are doubled too, an upsampler plus copies of the input
/// (`DupUp3D`).
fn up_level(
    b: &mut Builder,
    x: Buf,
    out: usize,
    (blocks, up): (usize, Option<bool>),
    p: VaePrecision,
) -> Buf {
    let mut h = x;
    for i in 0..blocks {
        h = residual(b, &format!("upsamples.{i}"), h, out, p);
    }
    let Some(time) = up else {
        return h;
    };
    let h = b.scope(format_args!("upsamples.{blocks}"), |b| {
        up_sample(b, h, time, p)
    });
    let copies = b.duplicate_up("dup_shortcut", x, out, [if time { 2 } else { 1 }, 2]);
    b.add("", h, copies, p.activations)
}

/// Doubles height and width; with `time` also the frames but the first, which passes unchanged and is not seen by the
/// convolution that makes the others.
fn up_sample(b: &mut Builder, x: Buf, time: bool, p: VaePrecision) -> Buf {
    let [frames, height, width, channels] = extents(b, x);
    let mut x = x;
    if time && frames > 1 {
        let result = b.assemble(
            "frames",
            [2 * frames - 1, height, width, channels],
            p.activations,
        );
        let (from, first) = (b.frames(x, 0..1), b.frames(result, 0..1));
        b.at(first).map("first", Op::Copy, from, p.activations);
        let later = b.frames(x, 1..frames);
        let pairs = causal(b, "time_conv", later, 2 * channels, [3, 1, 1], p);
        let rest = b.frames(result, 1..2 * frames - 1);
        b.at(rest).frame_shuffle("pairs", pairs);
        x = result;
    }
    let x = b.upsample_nearest("resample.0", x);
    conv2d(b, "resample.1", x, channels, 3, p)
}
