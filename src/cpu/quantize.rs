//! Scaling into the range of E4M3; the store rounds.

use rayon::prelude::*;

use super::arg::Arg;
use crate::tensor::e4m3_scale;

/// `s[m] = max_k |x[m, k]| / 448`, 1 for a row of zeros.
pub(super) fn row_scale(args: &[Arg<'_>]) -> Vec<f32> {
    let x = args[0].view();
    (0..x.rows())
        .into_par_iter()
        .map(|row| e4m3_scale(x.row(row)))
        .collect()
}

/// `x[m, k] (1 / s[m])`.
pub(super) fn by_rows(args: &[Arg<'_>]) -> Vec<f32> {
    let (x, s) = (args[0].view(), args[1].values());
    let cols = x.cols();
    let mut y = vec![0.0; x.rows() * cols];
    y.par_chunks_exact_mut(cols)
        .enumerate()
        .for_each(|(row, y)| {
            let factor = 1.0 / s[row];
            y.iter_mut()
                .zip(x.row(row))
                .for_each(|(y, x)| *y = x * factor);
        });
    y
}
