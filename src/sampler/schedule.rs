//! Noise levels of a pass.

use crate::{Error, Result, error::Field};

/// Noise levels and their integer timesteps.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Noise levels, `[steps + 1]`: strictly decreasing, below 1, then 0 for the finished latent. Every factor is
    /// computed from these f32 values.
    pub sigmas: Vec<f32>,
    /// `floor(1000 sigma)` of the levels before they are rounded to f32, `[steps]`. Only guidance reads them.
    pub timesteps: Vec<u32>,
}

impl Schedule {
    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.timesteps.len()
    }

    /// The levels in f64 before and after each step.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.sigmas
            .windows(2)
            .map(|w| (f64::from(w[0]), f64::from(w[1])))
    }
}

/// First level of every schedule with shift 1.
const SIGMA_MAX: f32 = 0.999;

/// The noise levels of `steps` steps: `shift l / (1 + (shift - 1) l)`, with l falling evenly from 0.999 towards 0. All
/// released passes have shift 5. Reference: `pipeline/scheduler_unipc.py`,
/// `FlowUniPCMultistepScheduler.set_timesteps`.
///
/// # Errors
/// [`Error::Request`] if `steps` is not 1 to 1000 or `shift` is not 0.01 to 100; within these all levels differ.
pub fn schedule(steps: usize, shift: f64) -> Result<Schedule> {
    if !(1..=1000).contains(&steps) {
        return Err(Error::request(Field::Steps, "must be 1 to 1000").found(steps));
    }
    if !(0.01..=100.0).contains(&shift) {
        return Err(Error::request(Field::Shift, "must be 0.01 to 100").found(shift));
    }
    let exact: Vec<f64> = (0..steps)
        .map(|i| {
            let level = f64::from(SIGMA_MAX) * (1.0 - i as f64 / steps as f64);
            shift * level / (1.0 + (shift - 1.0) * level)
        })
        .collect();
    Ok(Schedule {
        sigmas: exact.iter().map(|&s| s as f32).chain([0.0]).collect(),
        timesteps: exact.iter().map(|s| (1000.0 * s).floor() as u32).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_fall_strictly_over_the_whole_range_of_requests() {
        for steps in [1, 2, 5, 300, 1000] {
            for shift in [0.01, 0.5, 1.0, 5.0, 100.0] {
                let s = schedule(steps, shift).unwrap();
                assert_eq!((s.steps(), s.sigmas.len()), (steps, steps + 1));
                assert!(s.sigmas[0] < 1.0 && s.sigmas[steps] == 0.0);
                assert!(s.sigmas.is_sorted_by(|a, b| a > b), "{steps} {shift}");
            }
        }
    }

    #[test]
    fn impossible_schedules_are_refused() {
        assert_eq!(
            schedule(0, 5.0).unwrap_err().to_string(),
            "`num_inference_steps` must be 1 to 1000; given 0"
        );
        for (steps, shift) in [
            (1001, 5.0),
            (8, 0.0),
            (8, -1.0),
            (8, f64::NAN),
            (8, f64::INFINITY),
        ] {
            assert_eq!(schedule(steps, shift).unwrap_err().exit_code(), 2);
        }
    }
}
