//! Blocks of the Wan2.2 autoencoder: causal convolutions, residual blocks, attention within a frame.

use super::{VaePrecision, extents};
use crate::plan::{Attention, Buf, Builder, Conv3d, MaskBlock, Op, PaddingMode};

/// Floor of a norm.
const EPS: f32 = 1e-12;

/// A causal convolution: it sees no later frame, and zeros in front of the first.
pub(super) fn causal(
    b: &mut Builder,
    name: &str,
    x: Buf,
    out: usize,
    kernel: [usize; 3],
    p: VaePrecision,
) -> Buf {
    let [frames, rows, cols] = kernel;
    let shape = [out, extents(b, x)[3], frames, rows, cols];
    let conv = Conv3d::same(kernel, frames - 1, 0, PaddingMode::Zero);
    b.conv3d(name, x, p.kernel(&shape, conv))
}

/// A `size` x `size` convolution of every frame alone.
pub(super) fn conv2d(
    b: &mut Builder,
    name: &str,
    x: Buf,
    out: usize,
    size: usize,
    p: VaePrecision,
) -> Buf {
    let conv = Conv3d::same([1, size, size], 0, 0, PaddingMode::Zero);
    let shape = [out, extents(b, x)[3], size, size];
    b.conv3d(name, x, p.kernel(&shape, conv))
}

/// The residual block `name`, to `out` channels; only a shortcut that changes the width has weights.
pub(super) fn residual(b: &mut Builder, name: &str, x: Buf, out: usize, p: VaePrecision) -> Buf {
    b.scope(name, |b| {
        let h = norm_silu(b, ["residual.0", "residual.1"], x, p);
        let h = causal(b, "residual.2", h, out, [3; 3], p);
        let h = norm_silu(b, ["residual.3", "residual.4"], h, p);
        let h = causal(b, "residual.6", h, out, [3; 3], p);
        let shortcut = if extents(b, x)[3] == out {
            x
        } else {
            causal(b, "shortcut", x, out, [1; 3], p)
        };
        b.add("", h, shortcut, p.activations)
    })
}

/// The middle of encoder and decoder: residual block, attention, residual block.
pub(super) fn middle(b: &mut Builder, x: Buf, p: VaePrecision) -> Buf {
    let width = extents(b, x)[3];
    b.segment("middle", |b| {
        let x = residual(b, "0", x, width, p);
        let x = b.scope("1", |b| attention(b, x, p));
        residual(b, "2", x, width, p)
    })
}

/// Norm, silu and the last convolution of encoder or decoder.
pub(super) fn head(b: &mut Builder, x: Buf, out: usize, p: VaePrecision) -> Buf {
    let h = norm_silu(b, ["head.0", "head.1"], x, p);
    causal(b, "head.2", h, out, [3; 3], p)
}

/// Single-head attention over all positions of a frame, each frame alone.
fn attention(b: &mut Builder, x: Buf, p: VaePrecision) -> Buf {
    let [frames, height, width, channels] = extents(b, x);
    let y = b.l2_norm("norm", x, &[channels, 1, 1], EPS, p.weights);
    let qkv = conv2d(b, "to_qkv", y, 3 * channels, 1, p);
    let parts = [0, 1, 2].map(|i| b.cols(qkv, i * channels..(i + 1) * channels));
    let picture = height * width;
    let windows = (0..frames).map(|frame| {
        let positions = frame * picture..(frame + 1) * picture;
        MaskBlock::new(positions.clone(), [positions])
    });
    let op = Attention {
        heads: 1,
        kv_heads: 1,
        scale: 1.0 / (channels as f32).sqrt(),
        softcap: None,
        windows: windows.collect(),
    };
    let seen = b.assemble(
        "attention",
        [frames, height, width, channels],
        p.activations,
    );
    b.at(seen).attention("attention", parts, op, p.activations);
    let y = conv2d(b, "proj", seen, channels, 1, p);
    b.add("", x, y, p.activations)
}

fn norm_silu(b: &mut Builder, names: [&str; 2], x: Buf, p: VaePrecision) -> Buf {
    let channels = extents(b, x)[3];
    let x = b.l2_norm(names[0], x, &[channels, 1, 1, 1], EPS, p.weights);
    b.map(names[1], Op::Silu, x, p.activations)
}
