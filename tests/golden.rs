//! Replays every golden case on the CPU: from `tests/golden/`, and from `../shared/golden/` where it is present.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails and says which ran"
)]

use std::path::{Path, PathBuf};

use gallop::{
    cpu::Cpu,
    testing::{
        Verdict,
        golden::{self, Suite},
    },
};

/// The suite's folder: the full one beside the checkout if there is one, else the part that is in the repository.
fn folder(suite: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let full = root.join("../shared/golden").join(suite);
    if full.is_dir() {
        full
    } else {
        root.join("tests/golden").join(suite)
    }
}

fn replay(suite: &str, accept: impl Fn(&str) -> bool) {
    let suite = Suite::open(&folder(suite)).unwrap();
    let mut failed = Vec::new();
    let mut ran = 0;
    for case in suite.cases().filter(|case| accept(case.kind())) {
        let start = std::time::Instant::now();
        let checks = golden::run(&case, &Cpu).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        assert!(!checks.is_empty(), "{}: nothing was checked", case.name());
        let worst = checks
            .iter()
            .max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
            .unwrap();
        println!(
            "{:24} {:3} checks, worst {} {:.3e} of {:.3e}, {:.2} s",
            case.name(),
            checks.len(),
            worst.what,
            worst.error,
            worst.allowed,
            start.elapsed().as_secs_f32()
        );
        let bad = checks
            .iter()
            .filter(|check| check.verdict() == Verdict::Fail);
        failed.extend(bad.map(|check| {
            format!(
                "{}: {} is off by {:.3e}, allowed {:.3e}, worst {:?}",
                case.name(),
                check.what,
                check.error,
                check.allowed,
                check.worst
            )
        }));
        ran += 1;
    }
    println!("{ran} cases of {}", suite.name());
    assert!(ran > 0, "no case of {} ran", suite.name());
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn dit_forward_matches_the_reference() {
    replay("dit", |kind| kind == "dit_forward");
}

#[test]
fn samplers_ops_and_clips_match_the_reference() {
    replay("dit", |kind| kind != "dit_forward");
}

#[test]
fn autoencoders_match_the_reference() {
    replay("vae", |kind| {
        kind.contains("vae") || kind.contains("wan22") || kind.contains("oobleck")
    });
}

#[test]
fn text_encoder_matches_the_reference() {
    replay("text", |kind| kind == "text_encoder");
}
