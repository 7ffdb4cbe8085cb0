//! How property tests run: the same inputs every time, more of them when `CASES` says so.

use std::env;

use proptest::{prelude::ProptestConfig, test_runner::RngSeed};

/// `cases` inputs from a fixed seed; with `CASES=n` in the environment n inputs from a random one.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let asked = env::var("CASES").ok().and_then(|n| n.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        rng_seed: match asked {
            Some(_) => RngSeed::Random,
            None => RngSeed::Fixed(25),
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
