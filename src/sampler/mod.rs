//! Schedules, coefficient tables and noise, computed on the host.
//!
//! A sampler is a table. Every update rule here is linear in the latent, the velocity, the history and fresh
//! noise, with factors that depend only on the step, so a [`Method`] and a [`Schedule`] become one row of
//! [`StepCoefficients`] per step ([`rows`]) and a device only combines buffers. Factors are computed in f64 from the f32 sigmas
//! and rounded once. Knows neither models nor devices.

mod ddim;
pub mod guidance;
pub mod noise;
mod schedule;
mod sde;
mod unipc;
mod upsample;
pub mod zero_snr;

pub use schedule::{Schedule, schedule};
pub use upsample::upsample;

/// How a step goes from one latent to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Of the distilled model: to the estimate of the clean latent, then back up with fresh noise.
    Renoise,
    /// Euler steps with a re-noising step now and then.
    Sde,
    /// Second-order predictor and corrector, without noise: the base model and super-resolution.
    UniPc,
}

impl Method {
    /// Whether a step draws noise. Such a method draws for every step and latent, also where the factor is 0, as
    /// the reference does; [`StepCoefficients::uses_noise`] says where the numbers matter.
    pub fn draws_noise(self) -> bool {
        match self {
            Self::Renoise | Self::Sde => true,
            Self::UniPc => false,
        }
    }
}

/// The factors of one step, the same for the video and the audio latent:
///
/// ```text
/// m  = Σ self.m · [x, v]                  estimate of the clean latent
/// c' = Σ self.c · [x, c, m, m1, m2]       corrected latent
/// x' = Σ self.x · [c', m, m1, v, noise]   next latent
/// then m2 ← m1, m1 ← m, c ← c', x ← x'
/// ```
///
/// `x` is the latent that the network was given, `v` the velocity it returned, `m1` and `m2` the estimates of the
/// last two steps. Where a buffer has no value yet its factor is 0. Only [`Method::UniPc`] has corrected latents:
/// for the others `c` is all 0 and so is the first factor of `x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepCoefficients {
    /// Factors of `x` and `v` in the estimate of the clean latent.
    pub m: [f32; 2],
    /// Factors of `x`, `c`, `m`, `m1`, `m2` in the corrected latent.
    pub c: [f32; 5],
    /// Factors of `c'`, `m`, `m1`, `v` and noise in the next latent.
    pub x: [f32; 5],
}

impl StepCoefficients {
    /// Whether this step's noise has any effect.
    pub fn uses_noise(&self) -> bool {
        self.x[4] != 0.0
    }
}

/// One row of factors for each step of `schedule`.
pub fn rows(method: Method, schedule: &Schedule) -> Vec<StepCoefficients> {
    match method {
        Method::Renoise => ddim::rows(schedule),
        Method::Sde => sde::rows(schedule),
        Method::UniPc => unipc::rows(schedule),
    }
}

/// Factors of the clean estimate: the latent is `(1 - sigma) clean + sigma noise` and v is `noise - clean`.
fn clean_factors(sigma: f64) -> [f32; 2] {
    [1.0, -sigma as f32]
}
