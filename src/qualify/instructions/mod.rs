//! Conformance of single GPU instructions: the kernels of `conformance.cu`, and the exact bytes that they must write,
//! computed here independently.
//!
//! The same cases run on the emulator, in `cargo test`, and on a GPU, by `gallop verify --instructions`: where the two
//! differ, the emulator is wrong.

mod accumulator;
mod boxes;
mod case;
mod numbers;
mod products;
mod threads;

pub use accumulator::{Kept, kept_bits};
pub use case::InstructionCase;

/// All cases.
pub fn cases() -> Vec<InstructionCase> {
    let mut cases = threads::cases();
    cases.extend(numbers::cases());
    cases.extend(boxes::cases());
    cases.extend(products::cases());
    cases
}
