//! Replays the golden cases of the video autoencoders on the CPU.

use std::path::{Path, PathBuf};

use gallop::{
    cpu::Cpu,
    testing::{
        Verdict,
        golden::{self, Suite},
    },
};

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let full = root.join("../shared/golden/vae");
    if full.is_dir() {
        full
    } else {
        root.join("tests/golden/vae")
    }
}

fn replay(kinds: &[&str]) {
    let suite = Suite::open(&folder()).unwrap();
    let (mut ran, mut failed) = (0, Vec::new());
    for case in suite.cases().filter(|case| kinds.contains(&case.kind())) {
        let file: String = case.field("file").unwrap();
        if !folder().join(file).is_file() {
            println!(
                "{:24} not here: its tensors are not in the repository",
                case.name()
            );
            continue;
        }
        let start = std::time::Instant::now();
        let checks = golden::run(&case, &Cpu).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        println!("{:24} {:.2} s", case.name(), start.elapsed().as_secs_f32());
        for check in &checks {
            println!(
                "    {:44} {:.3e} of {:.3e}",
                check.what, check.error, check.allowed
            );
            if check.verdict() == Verdict::Fail {
                failed.push(format!("{}: {check:?}", case.name()));
            }
        }
        assert!(!checks.is_empty(), "{}: nothing was checked", case.name());
        ran += 1;
    }
    println!("{ran} cases of {kinds:?} in {}", suite.name());
    assert!(ran > 0, "no case of {kinds:?} ran");
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn turbo_decoder_matches_the_reference() {
    replay(&["turbo_vaed.decode", "turbo_vaed.decoder_call"]);
}

#[test]
fn wan_encoder_matches_the_reference() {
    replay(&["wan22.encode"]);
}

#[test]
fn wan_decoder_matches_the_reference() {
    replay(&["wan22.decode"]);
}
