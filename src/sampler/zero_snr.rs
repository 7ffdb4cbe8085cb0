//! Noise added to the input of the super-resolution pass: `x = a up + sqrt(1 - a²) noise`. Reference:
//! `pipeline/video_generate.py`, `ZeroSNRDDPMDiscretization`.
//!
//! `a` is one of 1000 signal levels of another, older schedule, rescaled so that the last is 0; it is not one of the
//! sigmas. The network was trained on such inputs, so this is not a mistake to correct.

use crate::{Error, Result, error::Field};

/// Number of levels.
pub const LEVELS: usize = 1000;

/// The level of the released configurations; 0 means no noise.
pub const DEFAULT_NOISE_VALUE: usize = 220;

/// Audio input of the super-resolution network: `AUDIO[0] noise + AUDIO[1] base audio`, fixed during the pass.
pub const AUDIO: [f32; 2] = [0.7, 0.3];

/// Factors `[a, sqrt(1 - a²)]` of the upsampled latent and of the noise at level `noise_value`, 0 to 999; `[1, 0]` at
/// level 0.
///
/// # Errors
/// [`Error::Request`] if there is no such level.
pub fn factors(noise_value: usize) -> Result<[f32; 2]> {
    if noise_value == 0 {
        return Ok([1.0, 0.0]);
    }
    let Some(&signal) = signal_table().get(noise_value) else {
        let expected = format!("must be 0 to {}", LEVELS - 1);
        return Err(Error::request(Field::NoiseValue, expected).found(noise_value));
    };
    let a = f64::from(signal);
    Ok([signal, (1.0 - a * a).sqrt() as f32])
}

/// The signal levels, `[LEVELS]`, falling from 0.9995749 to 0.
pub fn signal_table() -> Vec<f32> {
    let (first, last) = (0.00085_f64.sqrt(), 0.012_f64.sqrt());
    let mut product = 1.0;
    let roots: Vec<f32> = (0..LEVELS)
        .map(|j| {
            let root = first + j as f64 / (LEVELS - 1) as f64 * (last - first);
            product *= 1.0 - root * root;
            (product as f32).sqrt()
        })
        .collect();
    // Shift the last level to 0 and scale so that the first stays, in f32 as the reference does.
    let (top, bottom) = (roots[0], roots[LEVELS - 1]);
    let scale = top / (top - bottom);
    roots.iter().map(|q| (q - bottom) * scale).collect()
}
