//! Schedules, coefficient tables and noise, computed on the host.
//!
//! A sampler is a table. Every update rule here is linear in the latent, the velocity, the history and fresh noise,
//! with factors that depend only on the step. So a [`Method`] and a [`Schedule`] become one row of
//! [`StepCoefficients`] per step ([`rows`]), and a device only combines buffers. Factors are computed in f64 from the
//! f32 sigmas and rounded once. Imports neither models nor devices.

mod consistency;
pub mod guidance;
pub mod noise;
mod schedule;
mod sde;
mod step;
mod unipc;
mod upsample;
pub mod zero_snr;

pub use schedule::{Schedule, schedule};
pub use step::StepCoefficients;
pub use upsample::upsample;

/// Step rule: how one latent becomes the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Consistency sampling of the distilled model: to the estimate of the clean latent, then fresh noise of the next
    /// level.
    Consistency,
    /// Euler steps, some replaced by re-noising steps.
    Sde,
    /// UniPC of order 2, predictor and corrector, without noise: the base model and super-resolution.
    UniPc,
}

impl Method {
    /// Whether the method draws noise. If it does, it draws for every step and latent, even where the factor is 0, as
    /// the reference does; the last of [`StepCoefficients::x`] tells where the numbers matter.
    pub fn draws_noise(self) -> bool {
        match self {
            Self::Consistency | Self::Sde => true,
            Self::UniPc => false,
        }
    }
}

/// The factors of each step of `schedule`, one row per step.
pub fn rows(method: Method, schedule: &Schedule) -> Vec<StepCoefficients> {
    match method {
        Method::Consistency => consistency::rows(schedule),
        Method::Sde => sde::rows(schedule),
        Method::UniPc => unipc::rows(schedule),
    }
}
