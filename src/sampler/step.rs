//! The factors of one step.

/// The factors of one step, the same for the video and the audio latent:
///
/// ```text
/// m  = Σ self.m · [x, v]                  estimate of the clean latent
/// c' = Σ self.c · [x, c, m, m1, m2]       corrected latent
/// x' = Σ self.x · [c', m, m1, v, noise]   next latent
/// then m2 ← m1, m1 ← m, c ← c', x ← x'
/// ```
///
/// `x` is the latent that the network saw, `v` the velocity it returned, `m1` and `m2` the estimates of the last two
/// steps. A buffer without a value yet has the factor 0. Only [`Method::UniPc`](super::Method::UniPc) corrects
/// latents: for the others all of `c` and the first factor of `x` are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCoefficients {
    /// Factors of `x` and `v` in the estimate of the clean latent.
    pub m: [f32; 2],
    /// Factors of `x`, `c`, `m`, `m1`, `m2` in the corrected latent.
    pub c: [f32; 5],
    /// Factors of `c'`, `m`, `m1`, `v` and noise in the next latent.
    pub x: [f32; 5],
}

/// Factors of the clean estimate: the latent is `(1 - sigma) clean + sigma noise` and v is `noise - clean`.
pub(super) fn clean_factors(sigma: f64) -> [f32; 2] {
    [1.0, -sigma as f32]
}
