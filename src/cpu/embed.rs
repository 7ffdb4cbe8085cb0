//! Rows of an embedding table.

use super::arg::Arg;

/// `y[t] = scale w[ids[t]]`; only the rows that ids name are read from the checkpoint.
pub(super) fn embed(args: &[Arg<'_>], scale: f32) -> Vec<f32> {
    let (ids, table) = (args[0].view().dense(), &args[1]);
    let cols = table.shape.cols();
    let mut y = vec![0.0; ids.len() * cols];
    for (&id, y) in ids.iter().zip(y.chunks_exact_mut(cols)) {
        let row = id as usize;
        table.read_rows(row..row + 1, y);
        y.iter_mut().for_each(|v| *v *= scale);
    }
    y
}
