//! From steps to launches: which kernels run one step or several fused ones, with which arguments.
//!
//! Lowering is a pure function of the plan and its base addresses. It runs twice: first at placeholder addresses, to
//! learn whether every step has a kernel and how much memory that takes, then again at the allocated ones.

use crate::{
    Error, Result,
    cuda::{
        gpu::gemm_backend::GemmChoice,
        launch::{self, table},
        lowering::{
            arena::Metadata,
            context::{LowerCx, Lowering},
            work::Unit,
        },
    },
    plan::Plan,
};

/// Launches for all steps, and the metadata that they read.
///
/// # Errors
/// [`Error::Device`] naming the first op that no kernel runs, with its label.
pub(in crate::cuda) fn lower(context: &Lowering<'_>) -> Result<(Vec<Unit>, Metadata)> {
    let mut metadata = Metadata::new(context.bases().metadata);
    let mut units = Vec::new();
    let readers = table::readers(context.plan);
    let mut at = 0;
    while at < context.plan.steps().len() {
        let unit = next_unit(context, &readers, at, &mut metadata);
        let unit = unit.map_err(|error| located(context.plan, at, error))?;
        at = unit.steps.end;
        units.push(unit);
    }
    Ok((units, metadata))
}

/// The error with the op and label of step `at`, unless it names them.
pub(in crate::cuda) fn located(plan: &Plan, at: usize, error: Error) -> Error {
    let step = &plan.steps()[at];
    let (op, label) = (step.op.name(), &plan.spec(step.writes).label);
    match error {
        Error::Device { problem, hint } if !problem.contains(label.as_str()) => Error::Device {
            problem: format!("{op} at {label}: {problem}"),
            hint,
        },
        error => error,
    }
}

fn next_unit(
    context: &Lowering<'_>,
    readers: &[usize],
    at: usize,
    metadata: &mut Metadata,
) -> Result<Unit> {
    let plan = context.plan;
    let mut cx = LowerCx {
        context,
        steps: &plan.steps()[at..=at],
        metadata,
    };
    // The library cannot write a value that has no address because a fused kernel does not write it.
    let gemms = match context.library {
        Some(_) if cx.have_addresses(&[]) => launch::library::gemms(&mut cx),
        _ => Vec::new(),
    };
    let is_taken = context
        .library
        .is_some_and(|library| library.choice == GemmChoice::CublasLt)
        && !gemms.is_empty();
    let fuse = context.fuse && !is_taken;
    for (steps, row) in table::rows_at(plan, readers, context.arch, at) {
        cx.steps = &plan.steps()[steps.clone()];
        let unwritten = row.unwritten(cx.steps);
        if row.length > 1 && !fuse || !cx.have_addresses(&unwritten) {
            continue;
        }
        if let Some(launches) = (row.launch)(&mut cx)? {
            return Ok(Unit {
                gemms: if row.length == 1 { gemms } else { Vec::new() },
                steps,
                launches,
                unwritten,
            });
        }
    }
    cx.steps = &plan.steps()[at..=at];
    Err(cx.types())
}
