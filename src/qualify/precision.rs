//! Compares two precisions of one plan on the same inputs, layer by layer.

use std::collections::HashSet;

use super::relative_l2;
use crate::{
    Result, Tensor,
    executor::{Executor, Prepare},
    plan::{Buf, Plan, Role},
    weights::Weights,
};

/// Difference of a layer's results.
#[derive(Clone, Debug)]
pub struct LayerError {
    /// The result's label.
    pub label: String,
    /// Root mean square of the difference over that of the second plan's values.
    pub error: f64,
}

/// Runs two plans that differ only in precision, each with its weights, on the same inputs, and gives the error of the
/// first for every output of a layer and of the plan. Errors accumulate from layer to layer, as in use.
///
/// # Errors
/// Those of the executor.
pub fn between(
    plans: [&Plan; 2],
    weights: [&Weights; 2],
    inputs: &[(Buf, Tensor)],
    executor: &dyn Executor,
) -> Result<Vec<LayerError>> {
    // Handles of one plan are valid in the other.
    let bufs = handed_on(plans[1]);
    let run = |plan: &Plan, weights: &Weights| -> Result<Vec<Tensor>> {
        let plan = plan.keeping(bufs.iter().copied());
        let mut program = executor.load_and_prepare(&plan, weights, &Prepare::default())?;
        for (buf, value) in inputs {
            program.write(*buf, value)?;
        }
        program.run()?;
        bufs.iter().map(|&buf| program.read(buf)).collect()
    };
    let (got, want) = (run(plans[0], weights[0])?, run(plans[1], weights[1])?);
    let pairs = bufs.iter().zip(got.iter().zip(&want));
    let errors = pairs.map(|(&buf, (got, want))| LayerError {
        label: plans[1].spec(buf).label.clone(),
        error: relative_l2(&got.to_f32(), &want.to_f32()),
    });
    Ok(errors.collect())
}

/// Buffers that are written in one segment and read after it, and those that outlive a run, in the order of writing.
fn handed_on(plan: &Plan) -> Vec<Buf> {
    let mut seen = HashSet::new();
    let mut bufs = Vec::new();
    for (index, step) in plan.steps().iter().enumerate() {
        let root = plan.root(step.writes);
        let segment = plan.segments().iter().find(|s| s.steps.contains(&index));
        let is_read_behind = segment.is_some_and(|segment| {
            let behind = &plan.steps()[segment.steps.end..];
            let mut reads = behind.iter().flat_map(|step| &step.reads);
            reads.any(|&buf| plan.root(buf) == root)
        });
        let lives_on = matches!(plan.spec(root).role, Role::Output | Role::State);
        if (is_read_behind || lives_on) && seen.insert(root) {
            bufs.push(root);
        }
    }
    bufs
}
