//! The audio autoencoder against the reference's numbers.

mod common;

use gallop::cpu::Cpu;

#[test]
fn oobleck_matches_the_reference() {
    let kinds = [
        "oobleck.decode",
        "oobleck.encode",
        "oobleck.encode_windowed",
    ];
    common::replay("vae", &kinds, &Cpu);
}
