//! Cases of the samplers: from given velocities and noise to the latents after each step.

use super::GoldenCase;
use crate::{
    Result,
    qualify::Check,
    sampler::{self, Method},
};

pub(super) fn run(case: &GoldenCase<'_>, method: Method) -> Result<Vec<Check>> {
    let tensors = case.tensors()?;
    let schedule = sampler::schedule(case.field("steps")?, case.field("shift")?)?;
    let times: Vec<f32> = schedule.timesteps.iter().map(|&t| t as f32).collect();
    let mut checks = vec![
        tensors.max_abs("sigmas", &schedule.sigmas, "table.sigmas", 0.0)?,
        tensors.max_abs("timesteps", &times, "table.timesteps", 0.0)?,
    ];
    let mut x = tensors.get("in.x0")?.to_f32().into_owned();
    let velocities = tensors.get("in.v")?.to_f32();
    let count = x.len();
    let draws = if method.draws_noise() {
        tensors.get("in.noise")?.to_f32().into_owned()
    } else {
        vec![0.0; velocities.len()]
    };
    let (mut c, mut m1, mut m2) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
    let mut trajectory = Vec::new();
    let steps = velocities
        .chunks_exact(count)
        .zip(draws.chunks_exact(count));
    for (row, (v, noise)) in sampler::rows(method, &schedule).iter().zip(steps) {
        let m = combine(&row.m, &[&x, v]);
        c = combine(&row.c, &[&x, &c, &m, &m1, &m2]);
        x = combine(&row.x, &[&c, &m, &m1, v, noise]);
        m2 = std::mem::replace(&mut m1, m);
        trajectory.extend_from_slice(&x);
    }
    let allowed = case.number(&["measured", "out.traj", "accept_f32_rel_l2"])?;
    checks.push(tensors.relative_l2("trajectory", &trajectory, "out.traj.ref64", allowed)?);
    Ok(checks)
}

/// `sum_i factors[i] buffers[i]` in f32, in an executor's order.
fn combine(factors: &[f32], buffers: &[&[f32]]) -> Vec<f32> {
    let mut sum = vec![0.0; buffers[0].len()];
    for (&factor, buffer) in factors
        .iter()
        .zip(buffers)
        .filter(|&(&factor, _)| factor != 0.0)
    {
        sum.iter_mut()
            .zip(*buffer)
            .for_each(|(s, &v)| *s += factor * v);
    }
    sum
}
