//! Schedules, coefficient tables and noise, computed on the host.
//!
//! A sampler is a table. Every update rule here is linear in the latent, the velocity, the history and fresh
//! noise, with factors that depend only on the step, so a [`Method`] and a [`Schedule`] become one row of
//! [`StepCoefficients`] per step ([`rows`]) and a device only combines buffers. Factors are computed in f64 from the f32 sigmas
//! and rounded once. Knows neither models nor devices.

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

/// How a step goes from one latent to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Of the distilled model: to the estimate of the clean latent, then back up with fresh noise.
    Consistency,
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
            Self::Consistency | Self::Sde => true,
            Self::UniPc => false,
        }
    }
}

/// One row of factors for each step of `schedule`.
pub fn rows(method: Method, schedule: &Schedule) -> Vec<StepCoefficients> {
    match method {
        Method::Consistency => consistency::rows(schedule),
        Method::Sde => sde::rows(schedule),
        Method::UniPc => unipc::rows(schedule),
    }
}
