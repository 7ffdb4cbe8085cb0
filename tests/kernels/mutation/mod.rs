//! Mutation tests of the kernels: the emulator must find each mistake, and none in the unchanged kernel.
//!
//! A mistake is an edit of the source, so that the kernels themselves stay free of switches. An edit that no longer fits
//! its source fails the test, too. The expected message is empty where only the numbers are wrong, or where it depends on
//! the run.

mod attention;
mod conformance;
mod conv3d;
mod gemm;
mod rms_norm;
mod rows;

use std::{collections::BTreeSet, slice};

use rayon::prelude::*;

use crate::{
    SEEDS,
    emulate::{Edit, Emulator, Run, runs},
};

/// A mistake made on purpose.
struct Mutation {
    what: &'static str,
    /// Part of what at least one failing run says.
    says: &'static str,
    edit: Edit,
}

/// A mutation of `file`: what it is and what is said, then the text and what stands there instead.
const fn mutation(
    file: &'static str,
    [what, says]: [&'static str; 2],
    [find, replace]: [&'static str; 2],
) -> Mutation {
    Mutation {
        what,
        says,
        edit: Edit {
            file,
            find,
            replace,
        },
    }
}

/// The messages of `case` over all runs, and the number of failures under each policy.
fn failures(case: impl Fn(Run) -> Result<(), String>) -> ([usize; 3], BTreeSet<String>) {
    let (mut counts, mut texts) = ([0; 3], BTreeSet::new());
    for run in runs(SEEDS) {
        if let Err(problem) = case(run) {
            counts[run.policy as usize] += 1;
            texts.insert(problem);
        }
    }
    (counts, texts)
}

/// Prints a table of the mistakes; fails if one was not found or if the unchanged kernel fails.
#[track_caller]
fn expect_killed(
    source: &str,
    mutations: &[Mutation],
    case: impl Fn(&'static Emulator, Run) -> Result<(), String> + Sync,
) {
    let (_, problems) = failures(|run| case(Emulator::load(), run));
    assert!(problems.is_empty(), "without a mutation: {problems:?}");
    let rows: Vec<_> = mutations
        .par_iter()
        .map(|mutation| {
            let emulator = Emulator::load_edited(source, slice::from_ref(&mutation.edit));
            (mutation, failures(|run| case(emulator, run)))
        })
        .collect();
    println!("{source}: runs that fail, of {SEEDS} seeds each (lazy, eager, random)");
    let mut missed = Vec::new();
    for (mutation, (counts, texts)) in &rows {
        println!("{:48} {counts:?}", mutation.what);
        if !texts.iter().any(|text| text.contains(mutation.says)) {
            missed.push(format!(
                "{}: `{}` expected in {texts:?}",
                mutation.what, mutation.says
            ));
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}
