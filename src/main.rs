//! The `gallop` program: arguments in, exit code out.

fn main() {}
