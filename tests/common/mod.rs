//! Golden cases for the integration tests, from the copies in `tests/golden` and from the whole sets beside the crate
//! where there are any; and plans recorded as text in `tests/plans`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "every test uses a part of it; a failed unwrap is a failed test; what ran is said"
)]
mod snapshot;

use std::{path::PathBuf, time::Instant};

use gallop::{
    executor::Executor,
    golden::{GoldenCase, Suite, run},
    plan::Plan,
    qualify::Verdict,
};

/// The sets called `name` that are here, the crate's own first.
pub(crate) fn suites(name: &str) -> Vec<Suite> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    ["tests/golden", "../shared/golden"]
        .iter()
        .map(|folder| root.join(folder).join(name))
        .filter(|folder| folder.join("index.json").is_file())
        .map(|folder| Suite::open(&folder).unwrap())
        .collect()
}

/// Whether the case's file is in its set; the crate's own sets hold only the small ones.
pub(crate) fn is_here(case: &GoldenCase<'_>) -> bool {
    let file: String = case.field("file").unwrap_or_default();
    PathBuf::from(case.suite().name()).join(file).is_file()
}

/// Replays every case of `suite` whose kind is one of `kinds`, says which ran, and fails if one fails or none ran.
pub(crate) fn replay(suite: &str, kinds: &[&str], executor: &dyn Executor) {
    let suites = suites(suite);
    let mut names: Vec<&str> = suites
        .iter()
        .flat_map(Suite::cases)
        .filter(|case| kinds.contains(&case.kind()))
        .map(|case| case.name())
        .collect();
    names.sort_unstable();
    names.dedup();
    let (mut ran, mut failures) = (0, Vec::new());
    for name in names {
        let mut cases = suites.iter().flat_map(Suite::cases);
        let Some(case) = cases.find(|case| case.name() == name && is_here(case)) else {
            println!("{name}: not run, its file is not here");
            continue;
        };
        let start = Instant::now();
        let checks = run(&case, executor).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!checks.is_empty(), "{name}: nothing was compared");
        ran += 1;
        let worst = checks.iter().map(|c| c.ratio()).fold(0.0, f64::max);
        println!(
            "{name}: {} checks in {:.2} s, largest error {worst:.2} of what is allowed",
            checks.len(),
            start.elapsed().as_secs_f64()
        );
        for check in checks.iter().filter(|c| c.verdict() == Verdict::Fail) {
            failures.push(format!("{name}: {check:?}"));
        }
    }
    assert!(ran > 0, "no case of {kinds:?} is here");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Compares the text of `plan` with `tests/plans/NAME.txt`; with `UPDATE=1` writes it there.
pub(crate) fn snapshot(name: &str, plan: &Plan) {
    snapshot::snapshot(name, &plan.to_string());
}
