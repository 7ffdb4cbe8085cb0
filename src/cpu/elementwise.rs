//! Elementwise ops: sums, products, weighted combinations, per-channel maps.

use rayon::prelude::*;

use super::arg::Args;

/// Values of one task; small buffers stay on one thread.
const CHUNK: usize = 1 << 14;

/// `f(x)` for every element.
pub(super) fn map(args: &Args<'_>, f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut y = args[0].view().dense().into_owned();
    y.par_chunks_mut(CHUNK)
        .for_each(|chunk| chunk.iter_mut().for_each(|v| *v = f(*v)));
    y
}

/// `count` values, of which `f` writes `width` at a time, given how many such rows lie before; no more after a cancel.
pub(super) fn fill_rows(
    args: &Args<'_>,
    count: usize,
    width: usize,
    f: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0.0; count];
    let rows = y.par_chunks_mut(width).enumerate();
    rows.for_each(|(row, y)| {
        if !args.is_cancelled() {
            f(row, y);
        }
    });
    y
}

/// `f(x, y)` for every pair.
pub(super) fn zip(args: &Args<'_>, f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = args[0].view().dense().into_owned();
    let other = args[1].view().dense();
    let pairs = out.par_chunks_mut(CHUNK).zip(other.par_chunks(CHUNK));
    pairs.for_each(|(x, y)| x.iter_mut().zip(y).for_each(|(x, &y)| *x = f(*x, y)));
    out
}

/// `sum_i c[i, g] x_i`, where the rows are split into equal groups g. Factors of zero are skipped, so history that was
/// never written has no effect.
pub(super) fn combine(args: &Args<'_>) -> Vec<f32> {
    let coefficients = args[0].view();
    let first = args[1].view();
    let share = first.rows() / coefficients.cols() * first.cols();
    let mut y = vec![0.0_f32; first.rows() * first.cols()];
    for (i, x) in args[1..].iter().enumerate() {
        let x = x.view().dense();
        for (group, &c) in coefficients
            .row(i)
            .iter()
            .enumerate()
            .filter(|&(_, &c)| c != 0.0)
        {
            let range = group * share..(group + 1) * share;
            y[range.clone()]
                .iter_mut()
                .zip(&x[range])
                .for_each(|(y, x)| *y += c * x);
        }
    }
    y
}

/// `x a[c] + b[c]`.
pub(super) fn affine(args: &Args<'_>) -> Vec<f32> {
    let (a, b) = (args[1].values(), args[2].values());
    let mut y = args[0].view().dense().into_owned();
    for row in y.chunks_exact_mut(a.len()) {
        row.iter_mut()
            .zip(a.iter().zip(b.iter()))
            .for_each(|(y, (a, b))| *y = *y * a + b);
    }
    y
}
