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

/// The test that runs an op's cases.
#[derive(PartialEq)]
enum Group {
    NormsAndRotations,
    SumsWithNorms,
    GatesAndActivations,
    SumsProductsAndCopies,
    PatchesAndTableRows,
    ProductsInF32,
    /// `quantize.rs`, to the bit.
    Quantized,
}

fn group(op: RowOp) -> Group {
    match op {
        RowOp::RmsNorm { .. } | RowOp::NormRope | RowOp::Rope { .. } => Group::NormsAndRotations,
        RowOp::AddRmsNorm(_) => Group::SumsWithNorms,
        RowOp::Map(_) | RowOp::SigmoidGate { .. } | RowOp::SwiGlu7 => Group::GatesAndActivations,
        RowOp::Mul | RowOp::Add(..) | RowOp::Copy(..) | RowOp::Combine { .. } => {
            Group::SumsProductsAndCopies
        }
        RowOp::Patchify(_) | RowOp::Unpatchify(_) | RowOp::Embed { .. } => {
            Group::PatchesAndTableRows
        }
        RowOp::Linear { .. } => Group::ProductsInF32,
        RowOp::RowScale(_)
        | RowOp::Quantize(..)
        | RowOp::ScaledRows(_)
        | RowOp::NormQuantize(_)
        | RowOp::AddNormQuantize(_)
        | RowOp::SwiGlu7Quantize
        | RowOp::Gelu7Quantize => Group::Quantized,
    }
}

/// Runs the cases of a group.
fn check(seeds: u64, chosen: &Group) {
    let cases = TESTS.iter().enumerate();
    let mut cases = cases
        .filter(|(_, case)| group(case.op) == *chosen)
        .peekable();
    assert!(cases.peek().is_some(), "a group without cases");
    for (seed, case) in cases {
        let (plan, outputs) = case.plan();
        let tensors = inputs(case, &plan, seed as u64);
        let trial = Trial::new(case, &plan, &outputs, &tensors);
        each_run(seeds, |run| trial.check(Emulator::load(), run));
    }
}

#[test]
fn norms_and_rotations() {
    check(SEEDS, &Group::NormsAndRotations);
}

#[test]
fn sums_with_norms() {
    check(SEEDS, &Group::SumsWithNorms);
}

#[test]
fn gates_and_activations() {
    check(SEEDS, &Group::GatesAndActivations);
}

#[test]
fn sums_products_and_copies() {
    check(SEEDS, &Group::SumsProductsAndCopies);
}

#[test]
fn patches_and_table_rows() {
    check(SEEDS, &Group::PatchesAndTableRows);
}

#[test]
fn products_in_f32() {
    check(SEEDS_OF_PRODUCTS, &Group::ProductsInF32);
}
