//! The C interface, `libgallop`: functions that programs in other languages call. `gallop.h` in this folder is its
//! description, made from these files by `tools/header.sh`.
//!
//! [`exports`] has the functions, one for each of the header's; all that is `unsafe` about them is there, in `pointers.rs`
//! and in what reads a [`GallopRequest`]. Behind them are an [`engine`](self), which is a session with a thread that makes
//! one clip after the other, and its jobs. No panic gets out, no lock is held while somebody else's function is called,
//! and nothing is shared by two engines but the receiver of log lines.

#![allow(
    unsafe_code,
    reason = "pointers of another language are read, and functions have names that it can call"
)]

mod engine;
pub mod exports;
mod inputs;
mod job;
mod log;
mod options;
mod pointers;
mod request;
mod state;
mod status;

pub use exports::{GallopAudio, GallopEngine, GallopFrames, GallopJob};
pub use log::{GallopLog, GallopLogLevel};
pub use request::GallopRequest;
pub use state::{GallopJobState, GallopJobStatus, GallopProgress, GallopStage};
pub use status::GallopStatus;
