//! `gen-header FILE...`: the C header of the functions and types in these Rust files, on standard output.

use std::{env, process::ExitCode};

use cbindgen::{Builder, EnumConfig, ExportConfig, Language, RenameRule, Style};

/// What the header begins with.
const HEAD: &str = "\
// libgallop: video with sound from a prompt. Made from src/ffi by tools/header.sh.
//
// Functions return GALLOP_STATUS_OK or why not; the sentence to that is gallop_last_error's, in the same thread.
// Texts are UTF-8 and end in a zero. A pointer is null only where that is said to be allowed. What the library gives is
// freed by the library: an engine by gallop_engine_close, a job by gallop_job_free, and what is said to live as long as the
// job with it. Any function may be called from any thread, but nothing while it is freed by another.
//
// Version 1 of this interface may gain functions, and fields at the end of GallopRequest; nothing else changes in it.";

fn main() -> ExitCode {
    let files: Vec<String> = env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: gen-header FILE...");
        return ExitCode::from(2);
    }
    let names = EnumConfig {
        rename_variants: RenameRule::QualifiedScreamingSnakeCase,
        ..EnumConfig::default()
    };
    let config = cbindgen::Config {
        language: Language::C,
        style: Style::Both,
        cpp_compat: true,
        header: Some(HEAD.into()),
        include_guard: Some("GALLOP_H".into()),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        usize_is_size_t: true,
        line_length: 120,
        documentation_style: cbindgen::DocumentationStyle::C99,
        // No function names it: a level is an int, so that there may be more.
        export: ExportConfig {
            include: vec!["GallopLogLevel".into()],
            ..ExportConfig::default()
        },
        enumeration: names,
        ..cbindgen::Config::default()
    };
    let all = files.iter().fold(Builder::new(), Builder::with_src);
    match all.with_config(config).generate() {
        Ok(bindings) => {
            bindings.write(std::io::stdout());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
