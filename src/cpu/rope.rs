//! Half-split rotation of each head's first `2 half` lanes by the row's angles.

use super::{arg::Args, elementwise::fill_rows};

pub(super) fn rope(args: &Args<'_>, heads: usize) -> Vec<f32> {
    let (x, table) = (args[0].view(), args[1].view());
    let (cols, half) = (x.cols(), table.cols() / 2);
    let head = cols / heads;
    fill_rows(args, x.rows() * cols, cols, |row, y| {
        let (sin, cos) = table.row(row).split_at(half);
        for (x, y) in x.row(row).chunks_exact(head).zip(y.chunks_exact_mut(head)) {
            for l in 0..half {
                y[l] = x[l] * cos[l] - x[l + half] * sin[l];
                y[l + half] = x[l + half] * cos[l] + x[l] * sin[l];
            }
            y[2 * half..].copy_from_slice(&x[2 * half..]);
        }
    })
}
