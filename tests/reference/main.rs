//! Every network and every step around the networks against the reference's numbers, on the CPU.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test; what ran is said"
)]

mod audio_vae;
mod dit;
#[path = "../common/golden_cases.rs"]
mod golden_cases;
mod media;
mod sampler;
#[path = "../common/snapshot.rs"]
mod snapshot;
mod text_encoder;
mod tokenizer;
mod video_vae;

use std::time::Instant;

use gallop::{
    executor::Executor,
    golden::{Suite, run},
    qualify::Verdict,
};

use golden_cases::{is_here, suites};

/// Replays every case of `suite` whose kind is one of `kinds`, says which ran, and fails if one fails or none ran.
fn replay(suite: &str, kinds: &[&str], executor: &dyn Executor) {
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
