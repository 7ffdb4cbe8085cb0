//! UniPC, variant B2, of order 2, on estimates of the clean latent. Reference: `pipeline/scheduler_unipc.py`,
//! `multistep_uni_p_bh_update` and `multistep_uni_c_bh_update`.
//!
//! With `alpha = 1 - sigma` and `lambda = ln(alpha / sigma)`, a step of width `h = lambda' - lambda` moves a latent to
//! level sigma' by `(sigma'/sigma) c - alpha' e m`, where `e = expm1(-h)`, plus a term in the difference of the last
//! two estimates. The predictor steps from the corrected latent to the next one. After the network has run there, the
//! corrector repeats that step with the new estimate. Its result is only the base of later steps; the network does not
//! run again on it. Orders are 1, 2, 2, ..., 2, 1.

use super::{
    Schedule,
    step::{StepCoefficients, clean_factors},
};

pub(super) fn rows(schedule: &Schedule) -> Vec<StepCoefficients> {
    let levels: Vec<Level> = schedule.sigmas.iter().map(|&s| Level::new(s)).collect();
    (0..schedule.steps())
        .map(|step| StepCoefficients {
            m: clean_factors(levels[step].sigma),
            c: corrector(step, &levels).map(|f| f as f32),
            x: predictor(step, &levels).map(|f| f as f32),
        })
        .collect()
}

/// One noise level and its half log signal-to-noise ratio.
struct Level {
    sigma: f64,
    alpha: f64,
    lambda: f64,
}

impl Level {
    fn new(sigma: f32) -> Self {
        let sigma = f64::from(sigma);
        let alpha = 1.0 - sigma;
        Self {
            sigma,
            alpha,
            lambda: alpha.ln() - sigma.ln(),
        }
    }
}

/// Order of the step `step` of `steps`: limited by the history, and 1 at the end.
fn order(step: usize, steps: usize) -> usize {
    2.min(steps - step).min(step + 1)
}

/// Factors of `[x, c, m, m1, m2]` in the latent of `step`, corrected with the estimate made there.
fn corrector(step: usize, levels: &[Level]) -> [f64; 5] {
    if step == 0 {
        return [1.0, 0.0, 0.0, 0.0, 0.0];
    }
    let (from, to) = (&levels[step - 1], &levels[step]);
    let h = to.lambda - from.lambda;
    let e = (-h).exp_m1();
    let (base, scale) = (to.sigma / from.sigma, to.alpha * e);
    if order(step - 1, levels.len() - 1) == 1 {
        return [0.0, base, -0.5 * scale, -0.5 * scale, 0.0];
    }
    // rho1 + rho2 = b1 and r rho1 + rho2 = b2 make the step exact for estimates that are quadratic in lambda.
    let r = (levels[step - 2].lambda - from.lambda) / h;
    let u = -h;
    let f1 = e / u - 1.0;
    let f2 = f1 / u - 0.5;
    let (b1, b2) = (f1 / e, 2.0 * f2 / e);
    let rho1 = (b1 - b2) / (1.0 - r);
    let rho2 = b1 - rho1;
    let older = rho1 / r;
    [
        0.0,
        base,
        -scale * rho2,
        -scale * (1.0 - older - rho2),
        -scale * older,
    ]
}

/// Factors of `[c', m, m1, v, noise]` in the latent after `step`.
fn predictor(step: usize, levels: &[Level]) -> [f64; 5] {
    let (from, to) = (&levels[step], &levels[step + 1]);
    if step + 2 == levels.len() {
        // To level 0: h is infinite, e = -1 and the estimate alone remains.
        return [0.0, 1.0, 0.0, 0.0, 0.0];
    }
    let h = to.lambda - from.lambda;
    let scale = to.alpha * (-h).exp_m1();
    let older = match order(step, levels.len() - 1) {
        1 => 0.0,
        _ => 0.5 * h / (levels[step - 1].lambda - from.lambda),
    };
    let base = to.sigma / from.sigma;
    [base, -scale * (1.0 - older), -scale * older, 0.0, 0.0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_rise_from_one_and_end_at_one() {
        let orders = |steps| -> Vec<usize> { (0..steps).map(|i| order(i, steps)).collect() };
        assert_eq!(orders(1), [1]);
        assert_eq!(orders(2), [1, 1]);
        assert_eq!(orders(5), [1, 2, 2, 2, 1]);
    }
}
