//! `y[m, n] = sum_k x[m, k] w[n, k] + b[n]`, one block of weight rows per group of rows.

use rayon::prelude::*;

use super::{
    arg::{Arg, View},
    gemm::{Matrix, gemm},
};

/// Rows of x and rows of w of one task; fixed, so that cutting never depends on the number of threads.
const TILE_ROWS: usize = 512;
const TILE_COLS: usize = 256;

pub(super) fn linear(args: &[Arg<'_>], ends: &[usize]) -> Vec<f32> {
    let (x, w) = (args[0].view(), &args[1]);
    let n = w.shape.rows() / ends.len();
    let bias = args.get(2).map(Arg::values);
    let mut y = vec![0.0; x.rows() * n];
    let mut start = 0;
    for (group, &end) in ends.iter().enumerate() {
        let bias = bias.as_ref().map(|b| &b[group * n..(group + 1) * n]);
        multiply(
            x.slice(start..end),
            w,
            group * n,
            &mut y[start * n..end * n],
            n,
        );
        if let Some(bias) = bias {
            y[start * n..end * n]
                .par_chunks_exact_mut(n)
                .for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
        }
        start = end;
    }
    y
}

/// `y = x wᵀ` with the rows of w from `first` on.
fn multiply(x: View<'_>, w: &Arg<'_>, first: usize, y: &mut [f32], n: usize) {
    let k = x.cols();
    let tiles: Vec<(usize, usize)> = (0..x.rows())
        .step_by(TILE_ROWS)
        .flat_map(|row| (0..n).step_by(TILE_COLS).map(move |col| (row, col)))
        .collect();
    let products: Vec<Vec<f32>> = tiles
        .par_iter()
        .map(|&(row, col)| {
            let (rows, cols) = (TILE_ROWS.min(x.rows() - row), TILE_COLS.min(n - col));
            let mut panel = vec![0.0; cols * k];
            w.read_rows(first + col..first + col + cols, &mut panel);
            let mut tile = vec![0.0; rows * cols];
            let a = Matrix::rows(x.slice(row..row + rows).strided(), x.pitch());
            gemm(
                [rows, k, cols],
                a,
                Matrix::transposed(&panel, k),
                &mut tile,
                cols,
                false,
            );
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
