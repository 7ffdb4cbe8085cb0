//! What single instructions of the GPU must do: the kernels of `conformance.cu` and, worked out here a second time, the
//! very bytes they must write.
//!
//! The same cases run on the emulator, in `cargo test`, and on a GPU, by `gallop dev instructions`: what holds on
//! one and not on the other is where the emulator is wrong.

mod accumulator;
mod boxes;
mod case;
mod numbers;
mod products;
mod threads;

pub use accumulator::{Kept, kept_bits};
pub use case::InstructionCase;

/// All of them.
pub fn cases() -> Vec<InstructionCase> {
    let mut cases = threads::cases();
    cases.extend(numbers::cases());
    cases.extend(boxes::cases());
    cases.extend(products::cases());
    cases
}
