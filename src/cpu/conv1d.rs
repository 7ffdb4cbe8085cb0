//! 1D convolutions over `[samples, channels]`, as matmuls.
//!
//! A convolution gathers the inputs of a block of output samples into rows of `taps * inputs` values, tap slowest
//! (im2col), and multiplies them by the weight in the same order. A transposed convolution multiplies input samples by
//! the whole weight first, then adds the two products that meet in each output sample. Blocks only bound memory and
//! make tasks: an element is summed in the same order whatever the blocks.

use std::{borrow::Cow, ops::Range};

use rayon::prelude::*;

use super::{
    arg::{Arg, Args, View},
    elementwise::fill_rows,
    gemm::{Matrix, gemm},
};
use crate::{Shape, plan::Conv1d};

/// Output samples of a convolution, or input samples of a transposed one, that are gathered at once.
const BLOCK_ROWS: usize = 256;
/// Output channels of one matmul of a convolution.
const BLOCK_COLS: usize = 128;
/// Output channels of one matmul of a transposed convolution, whose result is `2 stride` times as wide.
const TRANSPOSED_BLOCK_COLS: usize = 32;

/// `y[n, o] = b[o] + sum x[stride n + dilation k - padding, i] w[o, i, k]`.
pub(super) fn conv1d(args: &Args<'_>, conv: Conv1d, result: &Shape) -> Vec<f32> {
    let (x, shape) = (args[0].view(), args[1].shape);
    let (outputs, inputs, taps) = (shape[0], shape[1], shape[2]);
    let weight = tap_slowest(args[1].values(), inputs, taps);
    let bias = args.get(2).map(Arg::values);
    let depth = taps * inputs;
    fill_rows(args, result.count(), BLOCK_ROWS * outputs, |block, y| {
        let first = block * BLOCK_ROWS;
        let rows = first..first + y.len() / outputs;
        let gathered = gather(x, rows.clone(), conv, taps);
        by_columns(args, y, outputs, BLOCK_COLS, |cols| {
            let mut tile = with_bias(rows.len(), cols.clone(), bias.as_deref());
            let a = Matrix::rows(&gathered, depth);
            let b = Matrix::transposed(&weight[cols.start * depth..], depth);
            let size = [rows.len(), depth, cols.len()];
            gemm(size, a, b, &mut tile, cols.len(), true);
            tile
        });
    })
}

/// Kernel `2 stride`, padding `stride / 2`: `y[n, o] = b[o] + sum x[m, i] w[i, o, k]` over `n = stride m + k -
/// padding`.
pub(super) fn conv_transpose1d(args: &Args<'_>, stride: usize, result: &Shape) -> Vec<f32> {
    let (x, shape) = (args[0].view(), args[1].shape);
    let (outputs, taps) = (shape[1], shape[2]);
    let weight = args[1].values();
    let bias = args.get(2).map(Arg::values);
    fill_rows(
        args,
        result.count(),
        BLOCK_ROWS * stride * outputs,
        |block, y| {
            let first = block * BLOCK_ROWS * stride;
            let rows = first..first + y.len() / outputs;
            // Output sample n gets tap k of input m and tap k + stride of input m - 1, where n + padding is
            // stride * m + k.
            let last = (rows.end - 1 + stride / 2) / stride;
            let read = (block * BLOCK_ROWS).saturating_sub(1)..(last + 1).min(x.rows());
            by_columns(args, y, outputs, TRANSPOSED_BLOCK_COLS, |cols| {
                let width = cols.len() * taps;
                let mut products = vec![0.0; read.len() * width];
                let a = Matrix::rows(x.slice(read.clone()).strided(), x.pitch());
                let b = Matrix::rows(&weight[cols.start * taps..], outputs * taps);
                let size = [read.len(), x.cols(), width];
                gemm(size, a, b, &mut products, width, false);
                let mut tile = with_bias(rows.len(), cols.clone(), bias.as_deref());
                for (n, out) in rows.clone().zip(tile.chunks_exact_mut(cols.len())) {
                    let (m, k) = ((n + stride / 2) / stride, (n + stride / 2) % stride);
                    for (m, k) in [(Some(m), k), (m.checked_sub(1), k + stride)] {
                        let Some(m) = m.filter(|m| read.contains(m)) else {
                            continue;
                        };
                        let product = &products[(m - read.start) * width..][..width];
                        for (y, taps) in out.iter_mut().zip(product.chunks_exact(taps)) {
                            *y += taps[k];
                        }
                    }
                }
                tile
            });
        },
    )
}

/// `[out, in, tap]` as `[out, tap, in]`.
fn tap_slowest(weight: Cow<'_, [f32]>, inputs: usize, taps: usize) -> Cow<'_, [f32]> {
    if taps == 1 {
        return weight;
    }
    let mut turned = vec![0.0; weight.len()];
    turned
        .par_chunks_exact_mut(inputs * taps)
        .zip(weight.par_chunks_exact(inputs * taps))
        .for_each(|(to, from)| {
            for (tap, to) in to.chunks_exact_mut(inputs).enumerate() {
                let column = from[tap..].iter().step_by(taps);
                to.iter_mut().zip(column).for_each(|(to, &from)| *to = from);
            }
        });
    Cow::Owned(turned)
}

/// The inputs of the output samples `rows`, one row of `taps * inputs` values each; zeros beyond the ends of x.
fn gather(x: View<'_>, rows: Range<usize>, conv: Conv1d, taps: usize) -> Vec<f32> {
    let inputs = x.cols();
    let mut gathered = vec![0.0; rows.len() * taps * inputs];
    for (n, row) in rows.zip(gathered.chunks_exact_mut(taps * inputs)) {
        for (tap, to) in row.chunks_exact_mut(inputs).enumerate() {
            let at = (n * conv.stride + tap * conv.dilation).checked_sub(conv.padding);
            if let Some(at) = at.filter(|&at| at < x.rows()) {
                to.copy_from_slice(x.row(at));
            }
        }
    }
    gathered
}

/// Rows that hold the bias of the channels `cols`, or zeros.
fn with_bias(rows: usize, cols: Range<usize>, bias: Option<&[f32]>) -> Vec<f32> {
    match bias {
        Some(bias) => bias[cols].repeat(rows),
        None => vec![0.0; rows * cols.len()],
    }
}

/// Fills `y`, rows of `cols` values, from tiles of at most `width` columns; not all of them after a cancel.
fn by_columns(
    args: &Args<'_>,
    y: &mut [f32],
    cols: usize,
    width: usize,
    tile: impl Fn(Range<usize>) -> Vec<f32> + Sync,
) {
    let ranges: Vec<Range<usize>> = (0..cols)
        .step_by(width)
        .map(|start| start..cols.min(start + width))
        .collect();
    let unless_cancelled = |range: &Range<usize>| match args.is_cancelled() {
        true => Vec::new(),
        false => tile(range.clone()),
    };
    let tiles: Vec<Vec<f32>> = ranges.par_iter().map(unless_cancelled).collect();
    for (range, tile) in ranges.into_iter().zip(tiles) {
        for (y, values) in y.chunks_exact_mut(cols).zip(tile.chunks_exact(range.len())) {
            y[range.clone()].copy_from_slice(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DType,
        cpu::arg::{Source, View},
        executor::Cancel,
    };

    /// Small integers, so that sums in any order are exact.
    fn integers(count: usize, salt: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + salt * 104_729) % 1009 % 15) as f32 - 7.0)
            .collect()
    }

    /// The first `count` of input, weight and bias.
    fn args<'a>(values: [&'a [f32]; 3], shapes: &'a [Shape; 4], count: usize) -> Args<'a> {
        let all = shapes.iter().zip(values).map(|(shape, values)| {
            let (rows, cols) = (0..shape.rows(), 0..shape.cols());
            Arg {
                shape,
                dtype: DType::F32,
                source: Source::Values(View::new(values, shape.cols(), rows, cols)),
            }
        });
        Args::new(all.take(count).collect(), &Cancel::default())
    }

    /// Adds `x[m, i] w` to `y[n, o]` wherever `place(m, k)` is n, for every tap k.
    fn scattered(
        x: (&[f32], usize),
        y: &mut [f32],
        outputs: usize,
        weight: impl Fn(usize, usize, usize) -> f32,
        place: impl Fn(usize, usize) -> Option<usize>,
        taps: usize,
    ) {
        let (values, inputs) = x;
        for (m, row) in values.chunks_exact(inputs).enumerate() {
            for k in 0..taps {
                let Some(y) = place(m, k).and_then(|n| y.chunks_exact_mut(outputs).nth(n)) else {
                    continue;
                };
                for (o, y) in y.iter_mut().enumerate() {
                    let terms = row.iter().enumerate().map(|(i, x)| x * weight(o, i, k));
                    *y += terms.sum::<f32>();
                }
            }
        }
    }

    #[test]
    fn conv1d_is_its_equation_on_both_sides_of_every_block_edge() {
        for (n, inputs, outputs, taps, stride, dilation, padding) in [
            (1, 3, 2, 7, 1, 1, 3),
            (2, 1, 1, 4, 2, 1, 1),
            (255, 2, 3, 7, 1, 9, 27),
            (256, 4, 129, 3, 1, 1, 1),
            (257, 1, 127, 1, 1, 1, 0),
            (2051, 3, 5, 16, 8, 1, 4),
            (515, 2, 128, 7, 1, 3, 9),
        ] {
            let conv = Conv1d {
                stride,
                dilation,
                padding,
            };
            let rows = (n + 2 * padding - dilation * (taps - 1) - 1) / stride + 1;
            let shapes: [Shape; 4] = [
                [n, inputs].into(),
                [outputs, inputs, taps].into(),
                [outputs].into(),
                [rows, outputs].into(),
            ];
            let [x, w, b] = [0, 1, 2].map(|i| integers(shapes[i].count(), i));
            let all = |count| args([&x, &w, &b], &shapes, count);
            let mut want = b.repeat(rows);
            let place = |m: usize, k: usize| {
                let at = (m + padding).checked_sub(k * dilation)?;
                at.is_multiple_of(stride).then_some(at / stride)
            };
            let weight = |o: usize, i: usize, k: usize| w[(o * inputs + i) * taps + k];
            scattered((&x, inputs), &mut want, outputs, weight, place, taps);
            assert_eq!(
                conv1d(&all(3), conv, &shapes[3]),
                want,
                "{shapes:?} {conv:?}"
            );

            want.iter_mut()
                .zip(b.iter().cycle())
                .for_each(|(y, b)| *y -= b);
            assert_eq!(conv1d(&all(2), conv, &shapes[3]), want, "without bias");
        }
    }

    #[test]
    fn conv_transpose1d_is_its_equation_on_both_sides_of_every_block_edge() {
        for (n, inputs, outputs, stride) in [
            (1, 2, 3, 8),
            (2, 1, 33, 2),
            (255, 3, 2, 4),
            (256, 1, 31, 2),
            (257, 2, 32, 8),
            (513, 1, 1, 4),
        ] {
            let taps = 2 * stride;
            let shapes: [Shape; 4] = [
                [n, inputs].into(),
                [inputs, outputs, taps].into(),
                [outputs].into(),
                [stride * n, outputs].into(),
            ];
            let [x, w, b] = [0, 1, 2].map(|i| integers(shapes[i].count(), i));
            let all = |count| args([&x, &w, &b], &shapes, count);
            let mut want = b.repeat(stride * n);
            let place = |m: usize, k: usize| (stride * m + k).checked_sub(stride / 2);
            let weight = |o: usize, i: usize, k: usize| w[(i * outputs + o) * taps + k];
            scattered((&x, inputs), &mut want, outputs, weight, place, taps);
            assert_eq!(
                conv_transpose1d(&all(3), stride, &shapes[3]),
                want,
                "{shapes:?}"
            );
        }
    }
}
