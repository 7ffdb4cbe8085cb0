//! Audio from any sample rate to any other by a windowed sinc.
//!
//! Each output sample is the sum of the inputs around its time, weighted by a low-pass filter: a sinc with its cut-off
//! a little below the lower of the two Nyquist frequencies, under a Kaiser window of [`LOBES`] zero crossings on each
//! side. The filter is tabulated densely and interpolated linearly, so one table serves every ratio. Errors of the
//! table and of the stop band are near -100 dB, below the 16 bits to which the result is rounded. Samples before the
//! first and after the last are taken as silence.

use std::f64::consts::PI;

use rayon::prelude::*;

/// Zero crossings of the sinc on each side.
pub(super) const LOBES: usize = 32;
/// Table entries from one zero crossing to the next.
const STEPS: usize = 1024;
/// Cut-off as a fraction of the lower Nyquist frequency: the pass band ends near 0.85.
const CUTOFF: f64 = 0.95;
/// Shape of the Kaiser window: 100 dB of attenuation.
const BETA: f64 = 10.0;
/// Output samples per task.
const BLOCK: usize = 4096;

/// `wave`, f32 `[n]` at `from_rate` Hz, as `[ceil(n * to_rate / from_rate)]` samples at `to_rate` Hz.
///
/// # Panics
/// If a rate is zero.
pub fn resample_sinc(wave: &[f32], from_rate: u32, to_rate: u32) -> Vec<f32> {
    assert!(from_rate > 0 && to_rate > 0, "{from_rate} to {to_rate} Hz");
    if from_rate == to_rate {
        return wave.to_vec();
    }
    let (from, to) = (u64::from(from_rate), u64::from(to_rate));
    let count = (wave.len() as u64 * to).div_ceil(from) as usize;
    let filter = Filter::new(from_rate, to_rate);
    let mut out = vec![0.0; count];
    out.par_chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(block, out)| {
            for (i, value) in out.iter_mut().enumerate() {
                // Input time of this output, whole part and fraction.
                let time = (block * BLOCK + i) as u64 * from;
                let fraction = (time % to) as f64 / to as f64;
                *value = filter.at(wave, (time / to) as usize, fraction);
            }
        });
    out
}

struct Filter {
    /// One side of the filter, [`STEPS`] entries per zero crossing, and a final zero.
    table: Vec<f64>,
    /// Input samples per zero crossing.
    stretch: f64,
}

impl Filter {
    fn new(from_rate: u32, to_rate: u32) -> Self {
        let peak = bessel_i0(BETA);
        let value = |i: usize| {
            let x = i as f64 / STEPS as f64;
            let angle = PI * CUTOFF * x;
            let sinc = if i == 0 { 1.0 } else { angle.sin() / angle };
            let inside = (x / LOBES as f64).powi(2);
            CUTOFF * sinc * bessel_i0(BETA * (1.0 - inside).max(0.0).sqrt()) / peak
        };
        let mut table: Vec<f64> = (0..=LOBES * STEPS).map(value).collect();
        table.push(0.0);
        Self {
            table,
            stretch: (f64::from(from_rate) / f64::from(to_rate)).max(1.0),
        }
    }

    /// The filtered value of `wave` at input time `whole + fraction`.
    fn at(&self, wave: &[f32], whole: usize, fraction: f64) -> f32 {
        let reach = LOBES as f64 * self.stretch;
        let before = (reach - fraction) as usize;
        let first = whole.saturating_sub(before);
        let end = (whole + (reach + fraction) as usize + 1).min(wave.len());
        let mut sum = 0.0;
        for (j, &x) in wave.iter().enumerate().take(end).skip(first) {
            let distance = (j as f64 - whole as f64 - fraction).abs();
            sum += f64::from(x) * self.weight(distance / self.stretch);
        }
        (sum / self.stretch) as f32
    }

    /// The filter `crossings` zero crossings from its centre.
    fn weight(&self, crossings: f64) -> f64 {
        let at = crossings * STEPS as f64;
        let entry = at as usize;
        if entry + 1 >= self.table.len() {
            return 0.0;
        }
        let (here, next) = (self.table[entry], self.table[entry + 1]);
        here + (next - here) * (at - entry as f64)
    }
}

/// The modified Bessel function of order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    // The terms fall, so once one no longer changes the sum, no later one does.
    for k in 1..60 {
        term *= quarter / f64::from(k * k);
        let before = sum;
        sum += term;
        if sum == before {
            break;
        }
    }
    sum
}
