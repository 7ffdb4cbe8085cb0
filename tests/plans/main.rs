//! Plans and the CPU's ops: what a plan says, what it costs, and that its ops compute what the simplest loops do. Beside
//! this file are the plans of the models as text.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise and prints the seed it came from"
)]

mod estimate;
#[path = "../common/in_memory.rs"]
mod in_memory;
mod ops;
mod quantize;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/run.rs"]
mod run;
#[path = "../common/snapshot.rs"]
mod snapshot;
mod structure;
mod video_vae;

use std::env;

use random::Random;

/// Calls `case` with one seed after the other; the last seed printed is the one that failed. `CASES=10000 cargo test`
/// makes a night of it.
fn each_case(count: usize, mut case: impl FnMut(&mut Random)) {
    let cases = env::var("CASES").ok().and_then(|n| n.parse().ok());
    for seed in 0..cases.unwrap_or(count as u64) {
        println!("seed {seed}");
        case(&mut Random::new(seed));
    }
}
