//! The CUDA executor on the emulator: lowering, fusion, memory and transfers with the kernels that the GPU runs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unsafe_code,
    reason = "a test stops at the first surprise and says what it ran; the emulator is a C library"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "tests/kernels launches by hand, too"
)]
#[path = "../emulate/mod.rs"]
mod emulate;
mod gemm_backend;
mod gemm_epilogue;
#[path = "../common/golden_cases.rs"]
mod golden_cases;
mod harness;
#[path = "../common/in_memory.rs"]
mod in_memory;
mod networks;
mod program;
mod quantized;
#[allow(dead_code, reason = "tests/plans draws sizes, too")]
#[path = "../common/random.rs"]
mod random;
mod rates;
mod residency;
mod sharing;
