//! How a call ended, and the sentence that goes with it.

use std::{
    any::Any,
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{Error, jobs::Refusal};

/// How a call ended. The sentence to a failure is gallop_last_error's.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GallopStatus {
    /// Done.
    Ok = 0,
    /// A value, a text, a picture or a sound that cannot be used, or a null pointer where there must be none.
    InvalidArgument = -1,
    /// A file that cannot be read or written.
    Io = -2,
    /// It does not fit into memory.
    OutOfMemory = -3,
    /// No device, no driver, or a failing device.
    Backend = -4,
    /// Somebody cancelled the job.
    Cancelled = -5,
    /// The job has not ended yet.
    NotReady = -6,
    /// The job has not ended in the time that was given; no error, and no sentence.
    Timeout = -7,
    /// Model files that are missing, damaged or of another shape.
    NotInstalled = -8,
    /// A fault of this library.
    Internal = -9,
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) status: GallopStatus,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(status: GallopStatus, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// An argument that cannot be used; `problem` follows its name.
    pub(super) fn argument(name: &str, problem: &str) -> Self {
        Self::new(GallopStatus::InvalidArgument, format!("`{name}` {problem}"))
    }

    /// A fault of ours.
    pub(super) fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("no message");
        Self::new(
            GallopStatus::Internal,
            format!("a fault of the library, please report it: {text}"),
        )
    }
}

impl From<&Error> for GallopStatus {
    fn from(error: &Error) -> Self {
        match error {
            Error::Input {
                source: Some(_), ..
            }
            | Error::Output { .. } => Self::Io,
            Error::Request { .. } | Error::Input { .. } => Self::InvalidArgument,
            Error::Weights { .. } => Self::NotInstalled,
            Error::Memory { .. } | Error::OutOfMemory { .. } => Self::OutOfMemory,
            Error::Device { .. } => Self::Backend,
            Error::Interrupted => Self::Cancelled,
            Error::Failed { .. } => Self::Internal,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::new(GallopStatus::from(&error), text)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(GallopStatus::InvalidArgument, refusal.message)
    }
}

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The sentence to the last failure of this thread.
pub(super) fn last_error() -> String {
    LAST_ERROR.with_borrow(String::clone)
}

/// Does what a function of the interface is to do. Neither an error nor a panic gets further than to [`last_error`].
pub(super) fn guarded(work: impl FnOnce() -> Result<(), Failure>) -> GallopStatus {
    let done = catch_unwind(AssertUnwindSafe(work));
    match done.unwrap_or_else(|payload| Err(Failure::panic(&*payload))) {
        Ok(()) => GallopStatus::Ok,
        Err(failure) => {
            if failure.status != GallopStatus::Timeout {
                LAST_ERROR.set(failure.text);
            }
            failure.status
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::Field;

    #[test]
    fn a_panic_becomes_a_status_and_a_sentence_of_its_thread() {
        let status = guarded(|| panic!("{} is odd", 3));
        assert_eq!(status, GallopStatus::Internal);
        assert!(last_error().ends_with("please report it: 3 is odd"));
        assert_eq!(guarded(|| panic!("a word")), GallopStatus::Internal);
        assert!(last_error().ends_with(": a word"));
        let other = std::thread::spawn(last_error).join().unwrap();
        assert_eq!(other, "");
        // Neither success nor waiting in vain takes the sentence away.
        assert_eq!(guarded(|| Ok(())), GallopStatus::Ok);
        let timeout = || Err(Failure::new(GallopStatus::Timeout, "later"));
        assert_eq!(guarded(timeout), GallopStatus::Timeout);
        assert!(last_error().ends_with(": a word"));
    }

    #[test]
    fn errors_keep_their_kind_and_their_causes() {
        let of = |error: Error| {
            let failure = Failure::from(error);
            (failure.status, failure.text)
        };
        let (status, text) = of(Error::request(Field::Size, "must be 32x32").found("1x1"));
        assert_eq!(status, GallopStatus::InvalidArgument);
        assert_eq!(text, "`size` must be 32x32; given 1x1");
        let missing = Error::input_io("a.png", io::Error::other("gone"));
        let (status, text) = of(missing);
        assert_eq!(status, GallopStatus::Io);
        assert!(text.contains("a.png") && text.contains("gone"), "{text}");
        let (status, _) = of(Error::weights("model", "is no folder"));
        assert_eq!(status, GallopStatus::NotInstalled);
        assert_eq!(of(Error::Interrupted).0, GallopStatus::Cancelled);
    }
}
