//! Scaling into the range of E4M3; the store rounds.

use super::{arg::Args, elementwise::fill_rows};
use crate::tensor::e4m3_scale;

/// `s[m] = max_k |x[m, k]| / 448`, 1 for a row of zeros.
pub(super) fn row_scale(args: &Args<'_>) -> Vec<f32> {
    let x = args[0].view();
    fill_rows(args, x.rows(), 1, |row, scale| {
        scale[0] = e4m3_scale(x.row(row));
    })
}

/// `x[m, k] (1 / s[m])`.
pub(super) fn by_rows(args: &Args<'_>) -> Vec<f32> {
    let (x, s) = (args[0].view(), args[1].values());
    let cols = x.cols();
    fill_rows(args, x.rows() * cols, cols, |row, y| {
        let factor = 1.0 / s[row];
        y.iter_mut()
            .zip(x.row(row))
            .for_each(|(y, x)| *y = x * factor);
    })
}
