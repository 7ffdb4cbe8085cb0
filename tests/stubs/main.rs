//! What `build.rs` writes for Rust from the kernels' sources: signatures read, argument structures written, and these
//! packed and launched.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../tools/build/entry_point.rs"]
mod entry_point;
#[path = "../../tools/build/signature.rs"]
mod signature;
#[path = "../../tools/build/stubs.rs"]
mod stubs;
#[path = "../../tools/build/tokens.rs"]
mod tokens;

mod launch;

#[path = "example.rs"]
#[allow(unreachable_pub, dead_code, reason = "written for a public module")]
#[rustfmt::skip]
mod generated;
