//! `kernels/common/conv.cu` and `kernels/common/depthwise.cu`, exact on whole numbers.

use gallop::{
    DType::{self, Bf16, F32},
    plan::{Builder, Conv1d, Conv3d, Kernel1d, Kernel3d, PaddingMode},
};

use super::bench::{Bench, Tolerance, framed_input, framed_output};
use crate::emulate::Arg;

/// `THREADS` of `depthwise` and of `conv`.
const THREADS: u32 = 256;
const TILE_THREADS: u32 = 128;
/// `TILE_M` and `TILE_N` of `conv`.
const TILE: usize = 64;

fn check_3d(x: [usize; 4], weight: &[usize], conv: Conv3d, dtype: DType) {
    let kernel = match *weight {
        [_, _, h, w] => [1, h, w],
        [_, _, t, h, w] => [t, h, w],
        _ => unreachable!(),
    };
    let size = |i: usize| (x[i] + conv.before[i] + conv.after[i] - kernel[i]) / conv.stride[i] + 1;
    let (out, outputs) = ([size(0), size(1), size(2)], weight[0]);
    let positions: usize = out.iter().product();
    let mut p = Builder::new();
    let from = framed_input(&mut p, &x, dtype);
    let to = framed_output(&mut p, &[out[0], out[1], out[2], outputs], dtype);
    let shape = Kernel3d {
        shape: weight,
        conv,
        weight: dtype,
        out: dtype,
    };
    p.at(to).conv3d("c", from, shape);
    let (name, grid, threads) = if conv.depthwise {
        let blocks = (positions * outputs.div_ceil(8)).div_ceil(THREADS as usize);
        ("depthwise", [blocks, 1, 1], THREADS)
    } else {
        let tiles = [positions, outputs].map(|size| size.div_ceil(TILE));
        ("conv3d", [tiles[0], tiles[1], 1], TILE_THREADS)
    };
    let mut sizes = x.to_vec();
    sizes.extend(out);
    sizes.push(outputs);
    sizes.extend(kernel.into_iter().chain(conv.stride).chain(conv.before));
    sizes.push((conv.time_padding == PaddingMode::Replicate).into());
    Bench::new(p, Tolerance::Whole).check(&format!("{name}_{dtype}"), grid, threads, |y, reads| {
        let mut args = vec![y.at];
        args.extend(reads.iter().map(|read| read.at));
        args.push(Arg::ints(&sizes));
        args.extend([reads[0].pitch, reads[1].pitch, y.pitch].map(Arg::int));
        args
    });
}

#[test]
fn conv3d_at_every_edge() {
    for dtype in [Bf16, F32] {
        for edge in [PaddingMode::Zero, PaddingMode::Replicate] {
            // More than a tile of positions, channels and outputs, with a tail in each.
            let same = Conv3d::same([3; 3], 1, 1, edge);
            check_3d([2, 5, 7, 19], &[67, 19, 3, 3, 3], same, dtype);
            // A single frame under a causal kernel.
            let causal = Conv3d::same([3; 3], 2, 0, edge);
            check_3d([1, 2, 3, 3], &[5, 3, 3, 3, 3], causal, dtype);
        }
        check_3d(
            [1, 1, 1, 1],
            &[1, 1, 1, 1],
            Conv3d::same([1; 3], 0, 0, PaddingMode::Zero),
            dtype,
        );
    }
}

#[test]
fn conv3d_with_steps_and_padding_behind() {
    let halving = Conv3d {
        stride: [1, 2, 2],
        before: [0; 3],
        after: [0, 1, 1],
        time_padding: PaddingMode::Zero,
        depthwise: false,
    };
    let in_time = Conv3d {
        stride: [2, 1, 1],
        after: [0; 3],
        ..halving
    };
    for dtype in [Bf16, F32] {
        check_3d([2, 6, 8, 9], &[8, 9, 3, 3], halving, dtype);
        check_3d([5, 2, 3, 8], &[4, 8, 3, 1, 1], in_time, dtype);
        // Padding beyond the kernel's reach: some taps see nothing anywhere.
        let wide = Conv3d {
            stride: [1; 3],
            before: [4; 3],
            after: [4; 3],
            ..halving
        };
        check_3d([1, 1, 2, 3], &[2, 3, 3, 3, 3], wide, dtype);
    }
}

#[test]
fn depthwise_at_every_edge() {
    for dtype in [Bf16, F32] {
        for edge in [PaddingMode::Zero, PaddingMode::Replicate] {
            for (x, kernel) in [([2, 4, 3, 21], [5, 5, 5]), ([1, 2, 6, 8], [3, 3, 3])] {
                let alone = Conv3d {
                    depthwise: true,
                    ..Conv3d::same(kernel, kernel[0] / 2, kernel[0] / 2, edge)
                };
                let [t, h, w] = kernel;
                check_3d(x, &[x[3], 1, t, h, w], alone, dtype);
            }
        }
    }
}

/// A sound convolved with weights of `shape`; transposed where there is no geometry.
fn check_1d(samples: usize, shape: [usize; 3], conv: Option<Conv1d>, bias: bool) {
    let [inputs, outputs] = match conv {
        Some(_) => [shape[1], shape[0]],
        None => [shape[0], shape[1]],
    };
    let mut p = Builder::new();
    let x = framed_input(&mut p, &[samples, inputs], F32);
    let weight = p.weight("w", shape, F32);
    let bias = bias.then(|| p.weight("b", [outputs], F32));
    let kernel = Kernel1d { weight, bias };
    let (stride, taps) = (shape[2] / 2, shape[2]);
    let (name, out, sizes, positions, phases) = match conv {
        Some(conv) => {
            let reach = conv.dilation * (taps - 1) + 1;
            let out = (samples + 2 * conv.padding - reach) / conv.stride + 1;
            let sizes = vec![
                samples,
                inputs,
                out,
                outputs,
                taps,
                conv.stride,
                conv.dilation,
                conv.padding,
            ];
            ("conv1d_f32", out, sizes, out, 1)
        }
        None => {
            let sizes = vec![
                samples,
                inputs,
                stride * samples,
                outputs,
                taps,
                stride,
                1,
                0,
            ];
            (
                "conv_transpose1d_f32",
                stride * samples,
                sizes,
                samples + 1,
                stride,
            )
        }
    };
    let to = framed_output(&mut p, &[out, outputs], F32);
    match conv {
        Some(conv) => p.at(to).conv1d("c", x, kernel, conv),
        None => p.at(to).conv_transpose1d("c", x, kernel, stride),
    };
    let grid = [positions.div_ceil(TILE), outputs.div_ceil(TILE), phases];
    Bench::new(p, Tolerance::Whole).check(name, grid, TILE_THREADS, |y, reads| {
        let bias = reads.get(2).map_or(Arg::Pointer(0), |read| read.at);
        let mut args = vec![y.at, reads[0].at, reads[1].at, bias];
        args.push(Arg::ints(&sizes));
        args.extend([reads[0].pitch, reads[1].pitch, y.pitch].map(Arg::int));
        args
    });
}

#[test]
fn conv1d_with_steps_dilation_and_padding() {
    let geometry = |stride, dilation, padding| {
        Some(Conv1d {
            stride,
            dilation,
            padding,
        })
    };
    check_1d(70, [67, 18, 7], geometry(1, 1, 3), true);
    check_1d(70, [5, 3, 7], geometry(1, 9, 27), false);
    check_1d(33, [9, 8, 8], geometry(4, 1, 2), true);
    check_1d(1, [1, 1, 1], geometry(1, 1, 0), false);
    check_1d(3, [2, 17, 3], geometry(1, 3, 9), true);
}

#[test]
fn conv_transpose1d_by_even_and_odd_factors() {
    check_1d(65, [18, 66, 4], None, true);
    check_1d(7, [9, 5, 16], None, false);
    check_1d(5, [3, 2, 10], None, true);
    check_1d(1, [1, 1, 2], None, true);
}
