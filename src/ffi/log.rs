//! Lines for whoever runs the program, which one function of theirs gets.

use std::{
    ffi::{CString, c_char, c_int, c_void},
    sync::{Mutex, PoisonError},
};

/// What a line of the log is.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GallopLogLevel {
    /// Something that differs from what was asked, or did not work.
    Warning = 1,
    /// What is done.
    Info = 2,
}

/// Gets a line of the log, of one of the levels of GallopLogLevel; the line lives as long as the call. It comes from any
/// thread, also from several at once.
pub type GallopLog =
    Option<unsafe extern "C" fn(level: c_int, line: *const c_char, user: *mut c_void)>;

#[derive(Clone, Copy)]
struct Receiver {
    function: GallopLog,
    user: *mut c_void,
}

// SAFETY: whoever gives the pointer promises that the function may be called with it from any thread.
unsafe impl Send for Receiver {}

static RECEIVER: Mutex<Receiver> = Mutex::new(Receiver {
    function: None,
    user: std::ptr::null_mut(),
});

/// Lines go to `function` from now on.
pub(super) fn set(function: GallopLog, user: *mut c_void) {
    let mut receiver = RECEIVER.lock().unwrap_or_else(PoisonError::into_inner);
    *receiver = Receiver { function, user };
}

/// Tells a line.
pub(super) fn tell(level: GallopLogLevel, line: &str) {
    // A copy, so that no lock is held during the call.
    let receiver = *RECEIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(function) = receiver.function else {
        return;
    };
    let line = CString::new(line.replace('\0', "?")).unwrap_or_default();
    // SAFETY: the function takes what it was set with, and a text that lives until it returns.
    unsafe { function(level as c_int, line.as_ptr(), receiver.user) };
}
