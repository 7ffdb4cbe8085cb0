//! 3D convolution over `[frames, height, width, channels]`.
//!
//! The inputs of a block of output positions are gathered as rows of a matrix (im2col), a few rows of the kernel at a
//! time, and multiplied with the weights in the order `[out][time, row, column, in]`. With channels last a row of the
//! kernel is contiguous, so gathering is copying. Padding exists only in that matrix. Kernel rows that lie in zeros
//! for a whole block are skipped: for a single frame under a causal kernel that is two thirds of the work.
//!
//! Block sizes depend on shapes only, so the result does not depend on the number of threads.

use rayon::prelude::*;

use super::{
    arg::{Arg, Args},
    elementwise::fill_rows,
    gemm::{Matrix, gemm},
};
use crate::{
    Shape,
    plan::{Conv3d, PaddingMode},
};

/// Output positions of one task.
const BLOCK: usize = 512;
/// Columns gathered at once, unless one row of the kernel has more.
const DEPTH: usize = 1024;
/// Output channels of one matmul.
const TILE: usize = 256;

pub(super) fn conv3d(args: &Args<'_>, conv: Conv3d, result: &Shape) -> Vec<f32> {
    let geometry = Geometry::new(&args[0], &args[1], conv, result);
    let multiplied = if conv.depthwise { depthwise } else { dense };
    multiplied(args, geometry)
}

/// Extents of a convolution.
#[derive(Clone, Copy)]
struct Geometry {
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 3],
    /// Channels of the input.
    channels: usize,
    conv: Conv3d,
}

impl Geometry {
    fn new(x: &Arg<'_>, weight: &Arg<'_>, conv: Conv3d, result: &Shape) -> Self {
        let kernel = match *weight.shape.extents() {
            [_, _, height, width] => [1, height, width],
            [_, _, frames, height, width] => [frames, height, width],
            _ => panic!("{} is not a convolution's weight", weight.shape),
        };
        Self {
            input: [x.shape[0], x.shape[1], x.shape[2]],
            output: [result[0], result[1], result[2]],
            kernel,
            channels: x.shape[3],
            conv,
        }
    }

    /// Elements of a row of the kernel.
    fn run(&self) -> usize {
        self.kernel[2] * self.channels
    }

    /// Rows of the kernel, all frames of it.
    fn kernel_rows(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Frame, row and column of an output position.
    fn coordinates(&self, position: usize) -> [usize; 3] {
        let [_, height, width] = self.output;
        [
            position / (height * width),
            position / width % height,
            position % width,
        ]
    }

    /// Index of the first input under row `kernel_row` of the kernel at an output position, as if at column 0; `None`
    /// if the whole row lies in padding.
    fn input_row(&self, [t, h, _]: [usize; 3], kernel_row: usize) -> Option<usize> {
        let [frames, height, width] = self.input;
        let frame = self.place(0, t, kernel_row / self.kernel[1]);
        let frame = match self.conv.time_padding {
            PaddingMode::Zero => within(frame, frames)?,
            PaddingMode::Replicate => frame.clamp(0, frames as isize - 1) as usize,
        };
        let row = within(self.place(1, h, kernel_row % self.kernel[1]), height)?;
        Some((frame * height + row) * width)
    }

    /// The kernel's columns that lie inside the input at output column `w`, and the input column under the first of
    /// them.
    fn columns(&self, w: usize) -> (std::ops::Range<usize>, usize) {
        let (start, width) = (self.place(2, w, 0), self.input[2] as isize);
        let first = (-start).max(0);
        let end = (width - start).clamp(0, self.kernel[2] as isize);
        let seen = (start + first).min(width) as usize;
        (first.min(end) as usize..end as usize, seen)
    }

    /// Input index under tap `tap` of output index `index` along an axis; negative before the input.
    fn place(&self, axis: usize, index: usize, tap: usize) -> isize {
        (index * self.conv.stride[axis] + tap) as isize - self.conv.before[axis] as isize
    }
}

fn within(index: isize, extent: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|&index| index < extent)
}

fn dense(args: &Args<'_>, geometry: Geometry) -> Vec<f32> {
    let (x, bias) = (args[0].view().dense(), args[2].values());
    let weights = repacked(args, geometry.kernel.iter().product());
    let out = bias.len();
    let count = geometry.output.iter().product::<usize>() * out;
    fill_rows(args, count, BLOCK * out, |block, y| {
        let mut tiles: Vec<Vec<f32>> = bias
            .chunks(TILE)
            .map(|bias| bias.repeat(y.len() / out))
            .collect();
        multiply(args, &x, &weights, geometry, block * BLOCK, &mut tiles);
        for (tile, values) in tiles.iter().enumerate() {
            let cols = TILE.min(out - tile * TILE);
            let rows = y.chunks_exact_mut(out).zip(values.chunks_exact(cols));
            rows.for_each(|(y, row)| {
                y[tile * TILE..tile * TILE + cols].copy_from_slice(row);
            });
        }
    })
}

/// Adds the matmuls of the block of positions from `first` on to `tiles`, `TILE` output channels each; not all of them
/// after a cancel.
fn multiply(
    args: &Args<'_>,
    x: &[f32],
    weights: &[f32],
    geometry: Geometry,
    first: usize,
    tiles: &mut [Vec<f32>],
) {
    let (run, kernel_rows) = (geometry.run(), geometry.kernel_rows());
    let depth = run * kernel_rows;
    let out = weights.len() / depth;
    let rows = tiles[0].len() / TILE.min(out);
    let step = (DEPTH / run).clamp(1, kernel_rows);
    let mut matrix = vec![0.0; rows * step * run];
    for start in (0..kernel_rows).step_by(step) {
        let taken = start..kernel_rows.min(start + step);
        let width = taken.len() * run;
        if args.is_cancelled() {
            return;
        }
        if !gather(x, geometry, first, taken, &mut matrix[..rows * width]) {
            continue;
        }
        tiles.par_iter_mut().enumerate().for_each(|(tile, values)| {
            let cols = values.len() / rows;
            let weights = &weights[tile * TILE * depth + start * run..];
            let a = Matrix::rows(&matrix, width);
            let b = Matrix::transposed(weights, depth);
            gemm([rows, width, cols], a, b, values, cols, true);
        });
    }
}

/// Gathers the inputs under the kernel's rows `taken` at the positions from `first` on, one matrix row per position.
/// Returns whether any of them is not padding.
fn gather(
    x: &[f32],
    geometry: Geometry,
    first: usize,
    taken: std::ops::Range<usize>,
    matrix: &mut [f32],
) -> bool {
    let (run, channels) = (geometry.run(), geometry.channels);
    let mut any = false;
    for (i, row) in matrix.chunks_exact_mut(taken.len() * run).enumerate() {
        let at = geometry.coordinates(first + i);
        let (cols, from) = geometry.columns(at[2]);
        for (kernel_row, cells) in taken.clone().zip(row.chunks_exact_mut(run)) {
            let Some(start) = geometry.input_row(at, kernel_row) else {
                cells.fill(0.0);
                continue;
            };
            let start = (start + from) * channels;
            cells[..cols.start * channels].fill(0.0);
            cells[cols.start * channels..cols.end * channels]
                .copy_from_slice(&x[start..start + cols.len() * channels]);
            cells[cols.end * channels..].fill(0.0);
            any = true;
        }
    }
    any
}

/// `[out, in, taps]` as `[out, taps, in]`, rounded to the type the weight is used in.
fn repacked(args: &Args<'_>, taps: usize) -> Vec<f32> {
    let weight = &args[1];
    let channels = weight.shape[1];
    let stored_rows = weight.shape.rows() / weight.shape[0];
    fill_rows(
        args,
        weight.shape.count(),
        channels * taps,
        |out, packed| {
            let mut stored = vec![0.0; channels * taps];
            weight.read_rows(out * stored_rows..(out + 1) * stored_rows, &mut stored);
            for (tap, packed) in packed.chunks_exact_mut(channels).enumerate() {
                let taps = stored[tap..].iter().step_by(taps);
                packed.iter_mut().zip(taps).for_each(|(p, &w)| *p = w);
            }
        },
    )
}

/// Each channel alone: `y[c] = b[c] + sum over taps of x[.., c] w[c, tap]`.
fn depthwise(args: &Args<'_>, geometry: Geometry) -> Vec<f32> {
    let (x, bias) = (args[0].view().dense(), args[2].values());
    let channels = geometry.channels;
    let [_, _, kernel_width] = geometry.kernel;
    let stored = args[1].values();
    let taps = stored.len() / channels;
    let weights: Vec<f32> = (0..taps)
        .flat_map(|tap| stored[tap..].iter().step_by(taps).copied())
        .collect();
    let count = geometry.output.iter().product::<usize>() * channels;
    fill_rows(args, count, channels, |position, y| {
        y.copy_from_slice(&bias);
        let at = geometry.coordinates(position);
        let (cols, from) = geometry.columns(at[2]);
        for kernel_row in 0..geometry.kernel_rows() {
            let Some(start) = geometry.input_row(at, kernel_row) else {
                continue;
            };
            let x = x[(start + from) * channels..].chunks_exact(channels);
            let w = &weights[(kernel_row * kernel_width + cols.start) * channels..];
            for (x, w) in x.zip(w.chunks_exact(channels)).take(cols.len()) {
                y.iter_mut()
                    .zip(x.iter().zip(w))
                    .for_each(|(y, (x, w))| *y += x * w);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        cpu::arg::{Source, View},
        executor::Cancel,
    };

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0
    }

    /// The result on synthetic values, checked against the definition in f64.
    fn run(x: [usize; 4], weight: &[usize], conv: Conv3d) -> Vec<f32> {
        let values = |count: usize, from: usize| (from..from + count).map(value).collect();
        let shapes = [Shape::from(x), weight.into(), [weight[0]].into()];
        let data: [Vec<f32>; 3] = std::array::from_fn(|i| values(shapes[i].count(), 7 * i));
        let args = shapes
            .iter()
            .zip(&data)
            .map(|(shape, data)| Arg {
                shape,
                dtype: DType::F32,
                source: Source::Values(View::new(
                    data,
                    shape.cols(),
                    0..shape.rows(),
                    0..shape.cols(),
                )),
            })
            .collect();
        let args = Args::new(args, &Cancel::default());
        let kernel = match *weight {
            [_, _, height, width] => [1, height, width],
            [_, _, frames, height, width] => [frames, height, width],
            _ => unreachable!(),
        };
        let size =
            |i: usize| (x[i] + conv.before[i] + conv.after[i] - kernel[i]) / conv.stride[i] + 1;
        let result = Shape::from([size(0), size(1), size(2), weight[0]]);
        let got = conv3d(&args, conv, &result);
        let want = by_definition(&data, x, kernel, conv, &result);
        let off = got
            .iter()
            .zip(&want)
            .map(|(got, want)| (f64::from(*got) - want).abs())
            .fold(0.0, f64::max);
        let terms = (kernel.iter().product::<usize>() * weight[1]) as f64;
        assert!(
            off < 1e-7 * terms.max(8.0),
            "{x:?}, {weight:?}, {conv:?}: off by {off}"
        );
        got
    }

    fn by_definition(
        [x, w, b]: &[Vec<f32>; 3],
        [frames, height, width, channels]: [usize; 4],
        [kt, kh, kw]: [usize; 3],
        conv: Conv3d,
        result: &Shape,
    ) -> Vec<f64> {
        let inside = |at: isize, extent: usize| usize::try_from(at).ok().filter(|&i| i < extent);
        let depth = if conv.depthwise { 1 } else { channels };
        let element = |index: usize| {
            let out = index % result[3];
            let position = index / result[3];
            let at = [
                position / (result[1] * result[2]),
                position / result[2] % result[1],
                position % result[2],
            ];
            let mut sum = f64::from(b[out]);
            for tap in 0..kt * kh * kw {
                let taps = [tap / (kh * kw), tap / kw % kh, tap % kw];
                let place = |i: usize| {
                    (at[i] * conv.stride[i] + taps[i]) as isize - conv.before[i] as isize
                };
                let frame = match conv.time_padding {
                    PaddingMode::Zero => inside(place(0), frames),
                    PaddingMode::Replicate => Some(place(0).clamp(0, frames as isize - 1) as usize),
                };
                let (Some(t), Some(r), Some(c)) =
                    (frame, inside(place(1), height), inside(place(2), width))
                else {
                    continue;
                };
                for i in 0..depth {
                    let channel = if conv.depthwise { out } else { i };
                    let x = x[((t * height + r) * width + c) * channels + channel];
                    sum += f64::from(x) * f64::from(w[(out * depth + i) * kt * kh * kw + tap]);
                }
            }
            sum
        };
        (0..result.count()).map(element).collect()
    }

    #[test]
    fn matches_the_definition_at_every_edge() {
        for edge in [PaddingMode::Zero, PaddingMode::Replicate] {
            for frames in [1, 2, 5] {
                let same = Conv3d::same([3; 3], 1, 1, edge);
                let causal = Conv3d::same([3; 3], 2, 0, edge);
                run([frames, 3, 2, 5], &[7, 5, 3, 3, 3], same);
                run([frames, 1, 1, 2], &[3, 2, 3, 3, 3], causal);
                let alone = Conv3d {
                    depthwise: true,
                    ..Conv3d::same([5; 3], 2, 2, edge)
                };
                run([frames, 3, 2, 5], &[5, 1, 5, 5, 5], alone);
            }
        }
        let halving = Conv3d {
            stride: [1, 2, 2],
            before: [0; 3],
            after: [0, 1, 1],
            time_padding: PaddingMode::Zero,
            depthwise: false,
        };
        run([2, 6, 4, 3], &[4, 3, 3, 3], halving);
        let in_time = Conv3d {
            stride: [2, 1, 1],
            after: [0; 3],
            ..halving
        };
        run([5, 2, 3, 3], &[4, 3, 3, 1, 1], in_time);
        run(
            [1, 2, 3, 4],
            &[3, 4, 1, 1, 1],
            Conv3d::same([1; 3], 0, 0, PaddingMode::Zero),
        );
        // Padding larger than the kernel: whole rows of it lie in padding.
        for depthwise in [false, true] {
            let wide = Conv3d {
                stride: [1; 3],
                before: [4; 3],
                after: [4; 3],
                time_padding: PaddingMode::Zero,
                depthwise,
            };
            let channels = if depthwise { 1 } else { 3 };
            run([1, 2, 2, 3], &[3, channels, 2, 2, 2], wide);
        }
    }

    #[test]
    fn matches_the_definition_beyond_one_block_tile_and_depth() {
        // 600 positions, 300 output channels, 27 * 50 columns.
        let conv = Conv3d::same([3; 3], 2, 0, PaddingMode::Zero);
        run([2, 15, 20, 50], &[TILE + 44, 50, 3, 3, 3], conv);
    }

    #[test]
    fn result_does_not_depend_on_the_number_of_threads() {
        let conv = Conv3d::same([3; 3], 1, 1, PaddingMode::Replicate);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| run([3, 16, 16, 24], &[40, 24, 3, 3, 3], conv))
        };
        let one: Vec<u32> = with(1).iter().map(|v| v.to_bits()).collect();
        let three: Vec<u32> = with(3).iter().map(|v| v.to_bits()).collect();
        assert_eq!(one, three);
    }
}
