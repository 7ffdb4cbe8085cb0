//! Rows of an embedding table.

use super::{arg::Args, elementwise::fill_rows};

/// `y[t] = scale w[ids[t]]`; only the rows that ids name are read from the checkpoint.
pub(super) fn embed(args: &Args<'_>, scale: f32) -> Vec<f32> {
    let (ids, table) = (args[0].view().dense(), &args[1]);
    let cols = table.shape.cols();
    fill_rows(args, ids.len() * cols, cols, |token, y| {
        let row = ids[token] as usize;
        table.read_rows(row..row + 1, y);
        y.iter_mut().for_each(|v| *v *= scale);
    })
}
