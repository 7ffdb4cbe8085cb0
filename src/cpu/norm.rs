//! Norms, with sums in f64: `rms_norm`, `l2_norm`, and `weight_norm` of convolution weights.

use super::{arg::Args, elementwise::fill_rows};
use crate::plan::{NormWeight, RmsNorm};

/// `y = x / sqrt(mean(x^2) + eps) * (1 + w)` over heads of `width` columns; each group of rows has its own w.
pub(super) fn rms_norm(args: &Args<'_>, op: &RmsNorm) -> Vec<f32> {
    let (x, width) = (args[0].view(), op.width);
    let factors: Option<Vec<f64>> = (op.weight == NormWeight::UnitOffset).then(|| {
        let w = args[1].values();
        w.iter().map(|&w| 1.0 + f64::from(w)).collect()
    });
    let cols = x.cols();
    fill_rows(args, x.rows() * cols, cols, |row, y| {
        let group = op.ends.partition_point(|&end| end <= row);
        for (x, y) in x
            .row(row)
            .chunks_exact(width)
            .zip(y.chunks_exact_mut(width))
        {
            let scale = 1.0 / (sum_of_squares(x) / width as f64 + f64::from(op.eps)).sqrt();
            match &factors {
                None => y
                    .iter_mut()
                    .zip(x)
                    .for_each(|(y, &x)| *y = (f64::from(x) * scale) as f32),
                Some(factors) => {
                    let factors = &factors[group * width..(group + 1) * width];
                    for ((y, &x), factor) in y.iter_mut().zip(x).zip(factors) {
                        *y = (f64::from(x) * scale * factor) as f32;
                    }
                }
            }
        }
    })
}

/// `y = x / max(|x|, eps) * sqrt(cols) * w` over each row.
pub(super) fn l2_norm(args: &Args<'_>, eps: f32) -> Vec<f32> {
    let (x, w) = (args[0].view(), args[1].values());
    let cols = x.cols();
    fill_rows(args, x.rows() * cols, cols, |row, y| {
        let x = x.row(row);
        let scale = (cols as f64).sqrt() / sum_of_squares(x).sqrt().max(f64::from(eps));
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(w.iter()) {
            *y = (f64::from(x) * scale * f64::from(w)) as f32;
        }
    })
}

/// `g v / |v|`, the norm over all axes but the first.
pub(super) fn weight_norm(args: &Args<'_>) -> Vec<f32> {
    let (v, g) = (args[0].values(), args[1].values());
    let width = v.len() / g.len();
    let mut w = vec![0.0; v.len()];
    for ((w, v), &g) in w
        .chunks_exact_mut(width)
        .zip(v.chunks_exact(width))
        .zip(g.iter())
    {
        let scale = f64::from(g) / sum_of_squares(v).sqrt();
        w.iter_mut()
            .zip(v)
            .for_each(|(w, &v)| *w = (f64::from(v) * scale) as f32);
    }
    w
}

fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}
