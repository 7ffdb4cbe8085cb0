//! Upsampling latents for the super-resolution pass.

use rayon::prelude::*;

/// Resamples each plane of f32 `[planes, h, w]` to `[planes, hs, ws]`: bilinear with aligned corners, so output row j
/// reads the source at `j (h - 1) / (hs - 1)`. `from` and `to` are (rows, columns). A video latent `[48, frames, h,
/// w]` has 48 · frames planes. Sums are in f64. Reference: `torch.nn.functional.interpolate`, trilinear,
/// `align_corners=True`.
///
/// # Panics
/// If a size is 0 or `x` is not a whole number of planes.
pub fn upsample(x: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let ((h, w), (hs, ws)) = (from, to);
    assert!(
        h > 0 && w > 0 && hs > 0 && ws > 0 && x.len().is_multiple_of(h * w),
        "{} values are not planes of {h}x{w} to be made {hs}x{ws}",
        x.len()
    );
    let (rows, columns) = (taps(h, hs), taps(w, ws));
    let mut y = vec![0.0; x.len() / (h * w) * hs * ws];
    let planes = y.par_chunks_mut(hs * ws).zip(x.par_chunks(h * w));
    planes.for_each(|(out, plane)| {
        for (out, row) in out.chunks_mut(ws).zip(&rows) {
            let upper = &plane[row.low * w..][..w];
            let lower = &plane[row.high * w..][..w];
            for (out, column) in out.iter_mut().zip(&columns) {
                *out = row.mix(column.of(upper), column.of(lower)) as f32;
            }
        }
    });
    y
}

/// Two neighbouring source indices and the weight of the second.
struct Tap {
    low: usize,
    high: usize,
    weight: f64,
}

impl Tap {
    fn mix(&self, low: f64, high: f64) -> f64 {
        (1.0 - self.weight) * low + self.weight * high
    }

    fn of(&self, line: &[f32]) -> f64 {
        self.mix(f64::from(line[self.low]), f64::from(line[self.high]))
    }
}

/// Where each of `to` outputs reads among `from` inputs. Integer division keeps whole positions whole.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let gaps = (to - 1).max(1);
    (0..to)
        .map(|j| {
            let position = j * (from - 1);
            let low = position / gaps;
            Tap {
                low,
                high: (low + 1).min(from - 1),
                weight: (position % gaps) as f64 / gaps as f64,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_and_values_between_are_linear() {
        let x = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let y = upsample(&x, (2, 2), (3, 5));
        assert_eq!(y.len(), 30);
        assert_eq!(y[..5], [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(y[5..10], [1.0, 1.25, 1.5, 1.75, 2.0]);
        assert_eq!(y[15..20], [10.0, 10.25, 10.5, 10.75, 11.0]);
        assert_eq!(upsample(&x, (2, 2), (2, 2)), x);
    }

    #[test]
    fn single_rows_and_columns_work_both_ways() {
        assert_eq!(upsample(&[7.0], (1, 1), (2, 3)), [7.0; 6]);
        assert_eq!(upsample(&[1.0, 2.0, 3.0, 4.0], (2, 2), (1, 1)), [1.0]);
    }
}
