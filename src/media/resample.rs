//! Decoded audio from 51 200 to 44 100 Hz: Fourier resampling of the whole clip. Reference: `scipy.signal.resample` in
//! `pipeline/video_process.py`, `resample_audio_sinc`.
//!
//! The audio network runs at 51 200 Hz so that one latent is as long as one video frame. Its output of N samples is
//! treated as periodic and band-limited to M = N * 441 / 512 samples:
//!
//! ```text
//! X = rfft(x);   Y_k = X_k for k < M/2,   Y_{M/2} = 2 X_{M/2};   y = irfft_M(Y) * M / N
//! ```
//!
//! where `irfft` reads only the real parts of the first and last bin. Resampling the clip in pieces would give other
//! numbers. Everything is f64. N and M may have any prime factors, which `rustfft` supports.

use rustfft::{FftPlanner, num_complex::Complex64};

/// Interleaved audio f32 `[samples, channels]` at 51 200 Hz to f32 `[samples * 441 / 512, channels]` at 44 100 Hz.
///
/// # Panics
/// If `wave` is not a whole number of samples or `channels` is zero.
pub fn resample_441_512(wave: &[f32], channels: usize) -> Vec<f32> {
    assert!(
        channels > 0 && wave.len().is_multiple_of(channels),
        "{} values of {channels} channels",
        wave.len()
    );
    let n = wave.len() / channels;
    let m = n * 441 / 512;
    let mut out = vec![0.0; m * channels];
    if m == 0 {
        return out;
    }
    let mut planner = FftPlanner::new();
    let forward = planner.plan_fft_forward(n);
    let inverse = planner.plan_fft_inverse(m);
    for channel in 0..channels {
        let mut spectrum: Vec<Complex64> = wave[channel..]
            .iter()
            .step_by(channels)
            .map(|&x| f64::from(x).into())
            .collect();
        forward.process(&mut spectrum);
        let mut narrow = fold(&spectrum, m);
        inverse.process(&mut narrow);
        for (y, value) in out[channel..].iter_mut().step_by(channels).zip(&narrow) {
            *y = (value.re / n as f64) as f32;
        }
    }
    out
}

/// The `m` bins of a real signal whose lower half is `spectrum`, with the bin at `m / 2` doubled.
fn fold(spectrum: &[Complex64], m: usize) -> Vec<Complex64> {
    let mut bins = vec![Complex64::ZERO; m];
    bins[0] = spectrum[0].re.into();
    for k in 1..m.div_ceil(2) {
        bins[k] = spectrum[k];
        bins[m - k] = spectrum[k].conj();
    }
    if m.is_multiple_of(2) {
        bins[m / 2] = (2.0 * spectrum[m / 2].re).into();
    }
    bins
}
