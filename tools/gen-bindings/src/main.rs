//! `gen-bindings HEADER`: the header's structures as Rust, on standard output.

use std::{env, process::ExitCode};

use bindgen::callbacks::{DeriveInfo, ParseCallbacks};

/// What the file begins with; the comments of the header become its documentation.
const HEAD: [&str; 4] = [
    "//! Structures that kernels and Rust share, made from `kernels/params.h` by `tools/bindings.sh`.",
    "//!",
    "//! A structure of another size or with its fields elsewhere than in the header does not compile.",
    "",
];

/// All are plain bytes: the derive refuses padding.
#[derive(Debug)]
struct Plain;

impl ParseCallbacks for Plain {
    fn add_derives(&self, _: &DeriveInfo<'_>) -> Vec<String> {
        ["bytemuck::Pod", "bytemuck::Zeroable"]
            .map(String::from)
            .into()
    }
}

fn main() -> ExitCode {
    let Some(header) = env::args().nth(1) else {
        eprintln!("usage: gen-bindings HEADER");
        return ExitCode::from(2);
    };
    let bindings = bindgen::Builder::default()
        .header(header)
        // Ordinary comments are documentation too.
        .clang_args([
            "-x",
            "c++",
            "-std=c++17",
            "-fparse-all-comments",
            "-Wno-pragma-once-outside-header",
        ])
        .raw_line(HEAD.join("\n"))
        .disable_header_comment()
        // Sizes and offsets are asserted when gallop is compiled.
        .layout_tests(true)
        .parse_callbacks(Box::new(Plain))
        .derive_default(true)
        .derive_eq(true)
        .generate();
    match bindings {
        Ok(bindings) => {
            print!("{bindings}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
