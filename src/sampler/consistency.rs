//! The distilled model's step: estimate the clean latent, then add fresh noise of the next level.
//!
//! `x' = (1 - sigma') m + sigma' noise`; the last step, with `sigma' = 0`, returns the estimate. Reference:
//! `pipeline/scheduler_unipc.py`, `FlowUniPCMultistepScheduler.step_ddim`.

use super::{
    Schedule,
    step::{StepCoefficients, clean_factors},
};

pub(super) fn rows(schedule: &Schedule) -> Vec<StepCoefficients> {
    let row = |(sigma, next): (f64, f64)| StepCoefficients {
        m: clean_factors(sigma),
        c: [0.0; 5],
        x: [0.0, (1.0 - next) as f32, 0.0, 0.0, next as f32],
    };
    schedule.pairs().map(row).collect()
}
