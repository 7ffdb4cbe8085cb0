//! The kernels that were compiled in; `build.rs` writes the table.

mod table {
    include!(concat!(env!("OUT_DIR"), "/cubins.rs"));
}

/// Compiled kernels by file name; empty in a CPU-only build.
pub fn cubins() -> &'static [(&'static str, &'static [u8])] {
    table::CUBINS
}

/// What was compiled, or why nothing was: `14 kernels for sm_90a, nvcc 13.0 by CUDA_HOME`.
pub fn build_note() -> &'static str {
    table::BUILD_NOTE
}
