//! What `build.rs` writes for Rust from the kernels' sources: signatures read, argument structures written, and these
//! packed and launched.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../tools/build/signature.rs"]
mod signature;
#[path = "../../tools/build/stubs.rs"]
mod stubs;

mod launch;

#[path = "example.rs"]
#[allow(unreachable_pub, dead_code, reason = "written for a public module")]
#[rustfmt::skip]
mod generated;
