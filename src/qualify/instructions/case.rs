//! A conformance case: one property of an instruction.

use std::fmt;

use crate::{Error, Result, cuda::Device};

/// A check that runs on a device.
type Check = Box<dyn Fn(&dyn Device) -> Result<()> + Send + Sync>;

/// A conformance case.
pub struct InstructionCase {
    /// Name: `boxes/…`, `wgmma/…`.
    pub name: String,
    check: Check,
}

impl InstructionCase {
    pub(super) fn new(
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
    /// [`Error::Failed`] with the first wrong value; [`Error::Device`] if the device fails.
    pub fn check(&self, device: &dyn Device) -> Result<()> {
        (self.check)(device)
    }
}

/// Checks that `got` equals `want`, element by element.
pub(super) fn equal<T: PartialEq + fmt::Debug>(what: &str, got: &[T], want: &[T]) -> Result<()> {
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

pub(super) fn wrong(problem: impl Into<String>) -> Error {
    Error::Failed {
        problem: problem.into(),
    }
}
