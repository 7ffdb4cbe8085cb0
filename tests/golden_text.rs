//! The text encoder against the reference's numbers.

mod common;

use gallop::cpu::Cpu;

#[test]
fn the_text_encoder_matches_the_reference() {
    common::replay("text", &["text_encoder"], &Cpu);
}
