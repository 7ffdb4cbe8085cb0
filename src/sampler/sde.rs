//! Euler steps, some of them replaced by re-noising. Reference: `pipeline/scheduler_unipc.py`,
//! `FlowUniPCMultistepScheduler.step_sde`.
//!
//! `x' = (1 - sigma' + sigma' C) m + sigma' C v + sigma' S noise`; an Euler step has C = 1, S = 0, a re-noising step C
//! = 0, S = 1.

use super::{
    Schedule,
    step::{StepCoefficients, clean_factors},
};

pub(super) fn rows(schedule: &Schedule) -> Vec<StepCoefficients> {
    let steps = schedule.steps();
    let row = |(step, (sigma, next)): (usize, (f64, f64))| {
        let (keep, fresh) = if renoises(step, steps) {
            (0.0, next)
        } else {
            (next, 0.0)
        };
        let clean = 1.0 - next + keep;
        StepCoefficients {
            m: clean_factors(sigma),
            c: [0.0; 5],
            x: [0.0, clean as f32, 0.0, keep as f32, fresh as f32],
        }
    };
    schedule.pairs().enumerate().map(row).collect()
}

/// Which steps re-noise: every second one in the first three quarters, then every third. Reference:
/// `pipeline/video_generate.py`, `schedule_latent_step`.
fn renoises(step: usize, steps: usize) -> bool {
    if step < 3 * steps / 4 {
        step % 2 == 1
    } else {
        step.is_multiple_of(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn re_noising_steps_follow_the_released_pattern() {
        let pattern =
            |steps| -> Vec<usize> { (0..steps).filter(|&i| renoises(i, steps)).collect() };
        assert_eq!(pattern(1), [0]);
        assert_eq!(pattern(8), [1, 3, 5, 6]);
        assert_eq!(pattern(12), [1, 3, 5, 7, 9]);
    }
}
