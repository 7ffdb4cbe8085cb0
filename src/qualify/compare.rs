//! Compares two executors step by step: every step of a plan alone, on the same inputs.
//!
//! The CPU runs each step with and without rounding; the difference is the error of rounding alone. The other executor's
//! error against the exact result may be twice that, plus the error of its f32 sums; and the direction of the result
//! must agree.

use super::{Check, max_abs};
use crate::{
    DType, Error, Result, Tensor,
    cpu::Cpu,
    executor::{Executor, Prepare},
    plan::{Buf, Op, Plan, Role, Step},
    weights::Weights,
};

/// Suffix of the direction checks.
const DIRECTION: &str = ", direction";

/// Tolerance of `1 - 2 <x, y> / (|x|^2 + |y|^2)`, which catches a wrong scale that the largest error hides.
const DISSIMILARITY: f64 = 1e-5;

/// Runs every step of `plan` on `executor`, with the CPU's values as inputs, and gives two checks per step: the largest
/// error and the direction. `inputs` are the plan's inputs; states start at zero. A step at which the device fails gives
/// a failed check and is the last.
///
/// # Errors
/// Those of the executors, except a failure of the device in a step.
///
/// # Panics
/// If an input lacks its value.
pub fn compare(
    plan: &Plan,
    weights: &Weights,
    inputs: &[(Buf, Tensor)],
    executor: &dyn Executor,
) -> Result<Vec<Check>> {
    let mut values: Vec<Option<Tensor>> = vec![None; plan.buffers().len()];
    for (buf, value) in inputs {
        values[buf.index()] = Some(Tensor::from_f32(
            plan.spec(*buf).shape.clone(),
            &rounded(plan.spec(*buf).dtype, value),
        ));
    }
    let mut checks = Vec::new();
    for (index, step) in plan.steps().iter().enumerate() {
        let one = plan.single(index);
        let run =
            |executor: &dyn Executor, one: &Plan| run_single(one, step, weights, &values, executor);
        let want = run(&Cpu, &one.in_f32())?;
        let near = run(&Cpu, &one)?;
        let got = match run(executor, &one) {
            Err(error @ Error::Device { .. }) => {
                // Later steps would fail as well.
                checks.push(Check::failed(format!("{}: {error}", named(plan, step))));
                break;
            }
            other => other?,
        };
        checks.extend(judge(plan, step, [&got, &want, &near].map(Tensor::to_f32)));
        store(plan, &mut values, step.writes, &near);
    }
    Ok(checks)
}

/// Op and label of a step.
fn named(plan: &Plan, step: &Step) -> String {
    format!("{} {}", step.op.name(), plan.spec(step.writes).label)
}

/// The result of one step, run alone.
fn run_single(
    one: &Plan,
    step: &Step,
    weights: &Weights,
    values: &[Option<Tensor>],
    executor: &dyn Executor,
) -> Result<Tensor> {
    let mut program = executor.load_and_prepare(one, weights, &Prepare::default())?;
    for buf in one.handles() {
        let spec = one.spec(buf);
        if matches!(spec.role, Role::Input | Role::State) && spec.part.is_none() {
            let value = values[buf.index()].clone();
            let value = value.unwrap_or_else(|| Tensor::zeros(spec.shape.clone(), DType::F32));
            program.write(buf, &value)?;
        }
    }
    program.run()?;
    program.read(step.writes)
}

/// The value rounded to this type.
fn rounded(dtype: DType, value: &Tensor) -> Vec<f32> {
    value.to_f32().iter().map(|&v| dtype.round(v)).collect()
}

/// Stores a step's result; `buf` may be a part of a buffer.
fn store(plan: &Plan, values: &mut [Option<Tensor>], buf: Buf, result: &Tensor) {
    let Some(part) = &plan.spec(buf).part else {
        values[buf.index()] = Some(result.clone());
        return;
    };
    let shape = &plan.spec(part.of).shape;
    let whole = values[part.of.index()].take();
    let mut whole = whole.map_or_else(|| vec![0.0; shape.count()], |t| t.to_f32().into_owned());
    let result = result.to_f32();
    for (row, from) in part
        .rows
        .clone()
        .zip(result.chunks_exact(part.cols.len().max(1)))
    {
        let start = row * shape.cols() + part.cols.start;
        whole[start..start + from.len()].copy_from_slice(from);
    }
    values[part.of.index()] = Some(Tensor::from_f32(shape.clone(), &whole));
}

/// The two checks: the largest error against `2 max|near - want|` plus the error of f32 sums, and the direction.
fn judge(plan: &Plan, step: &Step, values: [std::borrow::Cow<'_, [f32]>; 3]) -> [Check; 2] {
    let [got, want, near] = values;
    // FP8 results are defined to the bit, and their rounding turns them too far for a direction check.
    let is_exact = plan.spec(step.writes).dtype == DType::E4m3;
    let want = if is_exact { near.clone() } else { want };
    let what = named(plan, step);
    let largest = want.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
    let ulp = match plan.spec(step.writes).dtype {
        DType::Bf16 => f64::from(largest) * 2.0_f64.powi(-8),
        DType::F16 => f64::from(largest) * 2.0_f64.powi(-11),
        DType::E4m3 => 0.0,
        _ => f64::from(largest) * 2.0_f64.powi(-24) * f32_roundings(plan, step),
    };
    let allowed = 2.0 * max_abs(&near, &want) + ulp;
    let error = Check::max_abs(&what, &got, &want, allowed);
    let direction = Check {
        what: what + DIRECTION,
        error: dissimilarity(&got, &want),
        allowed: DISSIMILARITY,
        worst: error.worst.clone(),
    };
    [error, direction]
}

/// Rounding error of an f32 op in units in the last place of the largest value: a random walk for a sum of n terms, a few
/// units for anything else.
fn f32_roundings(plan: &Plan, step: &Step) -> f64 {
    const FEW: f64 = 8.0;
    match &step.op {
        Op::Linear { .. } => FEW + (plan.spec(step.reads[0]).shape.cols() as f64).sqrt(),
        Op::Combine => FEW + step.reads.len() as f64,
        _ => FEW,
    }
}

/// `1 - 2 <x, y> / (|x|^2 + |y|^2)`: zero for equal vectors; infinite if a value is not a number.
fn dissimilarity(x: &[f32], y: &[f32]) -> f64 {
    let (mut product, mut squares) = (0.0, 0.0);
    for (&x, &y) in x.iter().zip(y) {
        let (x, y) = (f64::from(x), f64::from(y));
        product += x * y;
        squares += x * x + y * y;
    }
    match squares {
        0.0 => 0.0,
        _ if squares.is_finite() => 1.0 - 2.0 * product / squares,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Builder, qualify::Verdict};

    fn verdicts(got: &[f32], want: &[f32], near: &[f32], dtype: DType) -> [Verdict; 2] {
        let mut p = Builder::new();
        let x = p.input("x", [want.len()], dtype);
        let y = p.map("y", Op::Silu, x, dtype);
        p.output(y);
        let plan = p.finish();
        let step = plan.steps()[0].clone();
        judge(&plan, &step, [got.into(), want.into(), near.into()]).map(|c| c.verdict())
    }

    #[test]
    fn twice_the_rounding_and_a_unit_pass_and_no_more() {
        let (want, near) = ([1.0, -3.0, 0.25], [1.0, -3.01, 0.25]);
        let unit = 3.0 / 256.0;
        for (off, verdict) in [
            (0.02 + unit - 1e-4, Verdict::Pass),
            (0.02 + unit + 1e-4, Verdict::Fail),
        ] {
            let got = [1.0, -3.0, 0.25 + off];
            assert_eq!(
                verdicts(&got, &want, &near, DType::Bf16)[0],
                verdict,
                "{off}"
            );
        }
        let scaled = want.map(|v| v * 1.01);
        assert_eq!(
            verdicts(&scaled, &want, &near, DType::Bf16)[1],
            Verdict::Fail
        );
        let nan = [1.0, f32::NAN, 0.25];
        assert_eq!(
            verdicts(&nan, &want, &near, DType::Bf16),
            [Verdict::Fail; 2]
        );
    }

    #[test]
    fn eight_bits_are_those_of_the_cpu() {
        // Rounding turns every value, so the check asks for equal bits.
        let (want, near) = ([1.04, -3.1, 0.26], [1.0, -3.0, 0.25]);
        assert_eq!(
            verdicts(&near, &want, &near, DType::E4m3),
            [Verdict::Pass; 2]
        );
        let off = [1.0, -3.0, 0.281_25];
        assert_eq!(verdicts(&off, &want, &near, DType::E4m3)[0], Verdict::Fail);
        assert_eq!(verdicts(&want, &want, &near, DType::E4m3)[0], Verdict::Fail);
    }

    #[test]
    fn f32_has_no_rounding_to_hide_behind() {
        let want = [1.0, 0.5];
        assert_eq!(
            verdicts(&[1.0, 0.500_000_1], &want, &want, DType::F32),
            [Verdict::Pass; 2]
        );
        assert_eq!(
            verdicts(&[1.0, 0.500_01], &want, &want, DType::F32)[0],
            Verdict::Fail
        );
    }
}
