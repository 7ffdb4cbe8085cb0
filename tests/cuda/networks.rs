//! The text encoder and the autoencoders on the emulator, against the reference's numbers.

use std::{sync::Arc, time::Instant};

use gallop::{
    cuda::Cuda,
    testing::{Verdict, golden},
};

use crate::{
    common,
    emulate::{Policy, device::Emulated},
};

/// Replays the first case called `name`, and says how long that took.
fn replay(suite: &str, name: &str, policy: Policy) {
    let suites = common::suites(suite);
    let mut cases = suites.iter().flat_map(golden::Suite::cases);
    let Some(case) = cases.find(|case| case.name() == name && common::is_here(case)) else {
        println!("{name}: not run, its file is not here");
        return;
    };
    let executor = Cuda::new(Arc::new(Emulated::new(policy, 1)));
    let start = Instant::now();
    let checks = golden::run(&case, &executor).unwrap_or_else(|e| panic!("{name}: {e}"));
    let worst = checks.iter().map(|c| c.ratio()).fold(0.0, f64::max);
    println!(
        "{name}: {} checks in {:.2} s, largest error {worst:.2} of what is allowed",
        checks.len(),
        start.elapsed().as_secs_f64()
    );
    let outputs = ["output", "wave", "mean", "features"];
    let is_output = |what: &str| outputs.iter().any(|output| what.starts_with(output));
    assert!(
        checks.iter().any(|check| is_output(&check.what)),
        "{checks:?}"
    );
    let failed: Vec<_> = checks
        .iter()
        .filter(|c| c.verdict() == Verdict::Fail)
        .collect();
    assert!(failed.is_empty(), "{name}: {failed:#?}");
}

#[test]
fn the_text_encoder_matches_the_reference() {
    replay("text", "enc_c_padded_batch", Policy::Random);
}

#[test]
#[ignore = "a minute on the emulator"]
fn the_fast_video_decoder_matches_the_reference() {
    replay("vae", "turbo_small_t1", Policy::Lazy);
}

#[test]
fn the_video_encoder_matches_the_reference() {
    replay("vae", "wan_enc_small_1f", Policy::Random);
}

#[test]
fn the_video_decoder_matches_the_reference() {
    replay("vae", "wan_dec_small_t1", Policy::Eager);
}

#[test]
fn the_sound_decoder_matches_the_reference() {
    replay("vae", "oob_dec_small_l1", Policy::Lazy);
}

#[test]
fn the_sound_encoder_matches_the_reference() {
    replay("vae", "oob_enc_small_l4", Policy::Random);
}
