//! `y[m, n] = sum_k x[m, k] w[n, k] + b[n]`, one block of weight rows per group of rows; with FP8 operands the sums
//! are scaled instead of a bias.

use rayon::prelude::*;

use super::{
    arg::{Arg, Args, View},
    gemm::{Matrix, gemm},
};
use crate::plan::Scaling;

/// Rows of x and of w in one task; fixed, so that the split does not depend on the number of threads.
const TILE_ROWS: usize = 512;
const TILE_COLS: usize = 256;

pub(super) fn linear(args: &Args<'_>, ends: &[usize], scaling: Scaling) -> Vec<f32> {
    let (x, w) = (args[0].view(), &args[1]);
    let n = w.shape.rows() / ends.len();
    let bias = match scaling {
        Scaling::None => args.get(2).map(Arg::values),
        Scaling::Rows | Scaling::Fixed(_) => None,
    };
    let mut y = vec![0.0; x.rows() * n];
    let mut start = 0;
    for (group, &end) in ends.iter().enumerate() {
        let bias = bias.as_ref().map(|b| &b[group * n..(group + 1) * n]);
        let (x, rows) = (x.slice(start..end), &mut y[start * n..end * n]);
        multiply(args, x, group * n, rows);
        if let Some(bias) = bias {
            y[start * n..end * n]
                .par_chunks_exact_mut(n)
                .for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
        }
        start = end;
    }
    match scaling {
        Scaling::None => {}
        Scaling::Rows => {
            let (s, ws) = (args[2].values(), args[3].values());
            scale(&mut y, n, ends, |row| s[row], &ws);
        }
        Scaling::Fixed(factor) => scale(&mut y, n, ends, |_| 1.0 / factor, &args[2].values()),
    }
    y
}

/// `y[m, n] *= of_row(m) ws[g N + n]`.
fn scale(
    y: &mut [f32],
    n: usize,
    ends: &[usize],
    of_row: impl Fn(usize) -> f32 + Sync,
    ws: &[f32],
) {
    y.par_chunks_exact_mut(n).enumerate().for_each(|(row, y)| {
        let group = ends.partition_point(|&end| end <= row);
        let (factor, ws) = (of_row(row), &ws[group * n..(group + 1) * n]);
        y.iter_mut().zip(ws).for_each(|(y, ws)| *y *= factor * ws);
    });
}

/// `y = x wᵀ` with the rows of w from `first` on; incomplete after a cancel.
fn multiply(args: &Args<'_>, x: View<'_>, first: usize, y: &mut [f32]) {
    let (w, k) = (&args[1], x.cols());
    let n = y.len() / x.rows().max(1);
    let tiles: Vec<(usize, usize)> = (0..x.rows())
        .step_by(TILE_ROWS)
        .flat_map(|row| (0..n).step_by(TILE_COLS).map(move |col| (row, col)))
        .collect();
    let products: Vec<Vec<f32>> = tiles
        .par_iter()
        .map(|&(row, col)| {
            if args.is_cancelled() {
                return Vec::new();
            }
            let (rows, cols) = (TILE_ROWS.min(x.rows() - row), TILE_COLS.min(n - col));
            let mut panel = vec![0.0; cols * k];
            w.read_rows(first + col..first + col + cols, &mut panel);
            let mut tile = vec![0.0; rows * cols];
            let a = Matrix::rows(x.slice(row..row + rows).strided(), x.pitch());
            let b = Matrix::transposed(&panel, k);
            gemm([rows, k, cols], a, b, &mut tile, cols, false);
            tile
        })
        .collect();
    for (&(row, col), tile) in tiles.iter().zip(&products) {
        let cols = TILE_COLS.min(n - col);
        for (i, values) in tile.chunks_exact(cols).enumerate() {
            let at = (row + i) * n + col;
            y[at..at + cols].copy_from_slice(values);
        }
    }
}
