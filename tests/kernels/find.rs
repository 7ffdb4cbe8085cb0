//! Mistakes planted in the kernels: the emulator must find each, and must find nothing where there is none.
//!
//! A mistake is an edit of the source, so that the kernels themselves stay free of switches. One that no longer fits
//! its source fails the test, too. What the emulator should say of it is empty where only the numbers are wrong, or
//! where it depends on the run.

use std::{collections::BTreeSet, slice};

use rayon::prelude::*;

use crate::{
    SEEDS,
    emulate::{Edit, Emulator, Run, runs},
};

/// A mistake.
pub(crate) struct Mistake {
    pub(crate) what: &'static str,
    /// Part of what at least one failing run says.
    pub(crate) says: &'static str,
    pub(crate) edit: Edit,
}

/// In `file`: what it is and what is said, then the text and what stands there instead.
pub(crate) const fn planted(
    file: &'static str,
    [what, says]: [&'static str; 2],
    [find, replace]: [&'static str; 2],
) -> Mistake {
    Mistake {
        what,
        says,
        edit: Edit {
            file,
            find,
            replace,
        },
    }
}

/// What `case` says over all runs, and how many fail under each policy.
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

/// Prints a table of what was found, and fails if a mistake was not or if the kernel as it is fails.
#[track_caller]
pub(crate) fn expect_found(
    source: &str,
    mistakes: &[Mistake],
    case: impl Fn(&'static Emulator, Run) -> Result<(), String> + Sync,
) {
    let (_, problems) = failures(|run| case(Emulator::load(), run));
    assert!(problems.is_empty(), "without a mistake: {problems:?}");
    let rows: Vec<_> = mistakes
        .par_iter()
        .map(|mistake| {
            let emulator = Emulator::load_edited(source, slice::from_ref(&mistake.edit));
            (mistake, failures(|run| case(emulator, run)))
        })
        .collect();
    println!("{source}: runs that fail, of {SEEDS} seeds each (lazy, eager, random)");
    let mut missed = Vec::new();
    for (mistake, (counts, texts)) in &rows {
        println!("{:48} {counts:?}", mistake.what);
        if !texts.iter().any(|text| text.contains(mistake.says)) {
            missed.push(format!(
                "{}: `{}` expected in {texts:?}",
                mistake.what, mistake.says
            ));
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}
