//! What single instructions of the GPU must do: the kernels of `conformance.cu` and, worked out here a second time, the
//! very bytes they must write.
//!
//! The same cases run on the emulator, in `cargo test`, and on a GPU, by `gallop verify --instructions`: what holds on
//! one and not on the other is where the emulator is wrong.

mod accumulator;
mod boxes;
mod numbers;
mod products;
mod threads;

use std::fmt;

use crate::{Error, Result, cuda::Device};

pub use accumulator::{Kept, kept_bits};

/// What runs on a device and says what is wrong.
type Check = Box<dyn Fn(&dyn Device) -> Result<()> + Send + Sync>;

/// One thing that must hold.
pub struct InstructionCase {
    /// What it is about: `boxes/…`, `products/…`.
    pub name: String,
    check: Check,
}

impl InstructionCase {
    fn new(
        name: impl Into<String>,
        check: impl Fn(&dyn Device) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            check: Box::new(check),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Error::Failed`] with the first value that is wrong, or the device's.
    pub fn check(&self, device: &dyn Device) -> Result<()> {
        (self.check)(device)
    }
}

/// All of them.
pub fn cases() -> Vec<InstructionCase> {
    let mut cases = threads::cases();
    cases.extend(numbers::cases());
    cases.extend(boxes::cases());
    cases.extend(products::cases());
    cases
}

/// That `got` is `want`, element by element.
fn equal<T: PartialEq + fmt::Debug>(what: &str, got: &[T], want: &[T]) -> Result<()> {
    assert_eq!(got.len(), want.len(), "{what}");
    match got.iter().zip(want).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(wrong(format!(
            "wrong {what}: [{at}] is {:?}, expected {:?}; {} of {} differ",
            got[at],
            want[at],
            got.iter().zip(want).filter(|(a, b)| a != b).count(),
            got.len()
        ))),
    }
}

fn wrong(problem: impl Into<String>) -> Error {
    Error::Failed {
        problem: problem.into(),
    }
}
