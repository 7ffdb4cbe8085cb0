//! The kernels of rows and elements: every case of the table against the CPU executor.

mod arena;
mod launch;
mod quantize;
mod synthetic;
pub(crate) mod truth;

use gallop::{
    plan::{Buf, Plan},
    qualify::cases::{RowCase, RowOp, TESTS},
};

use crate::{
    emulate::{Emulator, Run, each_run},
    run::Tensors,
};
use arena::Arena;
use launch::launch;
use truth::{Truth, inputs, truth};

/// Nothing in most of these kernels is asynchronous, so few orders of threads are enough.
pub(crate) const SEEDS: u64 = 3;
/// For those that have their products made while they go on.
const SEEDS_OF_PRODUCTS: u64 = 10;

/// A case with its inputs and what they should give.
pub(crate) struct Trial<'a> {
    case: &'a RowCase,
    plan: &'a Plan,
    tensors: &'a Tensors,
    truths: Vec<(Buf, Truth)>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        case: &'a RowCase,
        plan: &'a Plan,
        outputs: &[Buf],
        tensors: &'a Tensors,
    ) -> Self {
        let truths = outputs
            .iter()
            .map(|&out| (out, truth(case, plan, out, tensors)));
        Self {
            case,
            plan,
            tensors,
            truths: truths.collect(),
        }
    }

    pub(crate) fn check(&self, emulator: &Emulator, run: Run) -> Result<(), String> {
        let arena = Arena::new(self.case, self.plan, self.tensors);
        let problem = |problem| format!("{:?}: {problem}", self.case);
        launch(emulator, self.case, self.plan, &arena, run).map_err(problem)?;
        for (out, truth) in &self.truths {
            let got = arena.read(*out).map_err(problem)?;
            truth.check(&got).map_err(problem)?;
        }
        Ok(())
    }
}

/// Runs the cases of `chosen` ops.
fn check(chosen: impl Fn(RowOp) -> bool) {
    check_in(SEEDS, chosen);
}

fn check_in(seeds: u64, chosen: impl Fn(RowOp) -> bool) {
    let mut count = 0;
    for (seed, case) in TESTS.iter().enumerate().filter(|(_, case)| chosen(case.op)) {
        let (plan, outputs) = case.plan();
        let tensors = inputs(case, &plan, seed as u64);
        let trial = Trial::new(case, &plan, &outputs, &tensors);
        each_run(seeds, |run| trial.check(Emulator::load(), run));
        count += 1;
    }
    assert!(count > 0, "no case was chosen");
}

#[test]
fn norms_and_rotations() {
    check(|op| {
        matches!(
            op,
            RowOp::RmsNorm { .. } | RowOp::NormRope | RowOp::Rope { .. }
        )
    });
}

#[test]
fn sums_with_norms() {
    check(|op| matches!(op, RowOp::AddRmsNorm(_)));
}

#[test]
fn gates_and_activations() {
    check(|op| {
        let activation = matches!(
            op,
            RowOp::Gelu7 | RowOp::GeluTanh | RowOp::Silu | RowOp::Relu
        );
        activation || matches!(op, RowOp::SigmoidGate { .. } | RowOp::SwiGlu7)
    });
}

#[test]
fn sums_products_and_copies() {
    check(|op| {
        let pair = matches!(op, RowOp::Mul | RowOp::Add(..) | RowOp::Copy(..));
        pair || matches!(op, RowOp::Combine { .. })
    });
}

#[test]
fn patches_and_table_rows() {
    let patch = |op| matches!(op, RowOp::Patchify(_) | RowOp::Unpatchify(_));
    check(|op| patch(op) || matches!(op, RowOp::Embed { .. }));
}

#[test]
fn products_in_f32() {
    check_in(SEEDS_OF_PRODUCTS, |op| matches!(op, RowOp::Linear { .. }));
}
