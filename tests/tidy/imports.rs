//! Who may import whom.

use crate::source::{Finding, Source, Token, tokens};

/// Module, and what it may import besides `tensor` and `error`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("tensor", &[]),
    ("plan", &[]),
    ("weights", &[]),
    ("text", &[]),
    ("media", &[]),
    ("executor", &["plan", "weights"]),
    ("cpu", &["executor", "plan", "weights"]),
    ("cuda", &["executor", "plan", "weights"]),
    ("model", &["plan"]),
    ("sampler", &["plan"]),
    (
        "inspect",
        &[
            "cuda", "executor", "model", "pipeline", "plan", "qualify", "sampler", "text",
            "weights",
        ],
    ),
    ("qualify", &["cpu", "cuda", "executor", "plan", "weights"]),
    // The pipeline too, whose passes the end-to-end goldens replay.
    (
        "golden",
        &[
            "executor", "media", "model", "pipeline", "plan", "qualify", "sampler", "text",
            "weights",
        ],
    ),
    (
        "pipeline",
        &[
            "executor", "media", "model", "plan", "sampler", "text", "weights",
        ],
    ),
    ("device", &["cpu", "cuda", "executor"]),
    // Beyond the pipeline, for `plan`, `verify`, `synth`, `inspect` and their like.
    (
        "cli",
        &[
            "device", "executor", "golden", "inspect", "jobs", "model", "pipeline", "plan",
            "qualify", "server", "weights",
        ],
    ),
    ("jobs", &["executor", "pipeline"]),
    ("server", &["jobs", "pipeline"]),
    // Parameters and warnings have the names and words of `jobs`; `inspect` says what share of the work a stage is.
    (
        "ffi",
        &[
            "device", "executor", "inspect", "jobs", "pipeline", "weights",
        ],
    ),
    ("main", &["cli", "ffi", "server"]),
];
const ALWAYS: [&str; 2] = ["error", "tensor"];
/// Names that `lib.rs` hands out of those two.
const ROOT_NAMES: [&str; 5] = ["DType", "Error", "Result", "Shape", "Tensor"];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let Some(module) = module_path(&source.file) else {
        return Vec::new();
    };
    let own = module[0].as_str();
    if own == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == own) else {
        let rule =
            format!("imports: `{own}` is no room of the house; add it to the table in tests/tidy");
        return vec![Finding::new(&source.file, 1, rule)];
    };
    let fits = |name: &str| {
        name == own
            || ALWAYS.contains(&name)
            || allowed.contains(&name)
            || ROOT_NAMES.contains(&name)
    };
    let bad = |&(_, name): &(usize, &str)| !fits(name);
    imports(&source.code, &module)
        .into_iter()
        .filter(bad)
        .map(|(line, name)| {
            let rule = format!(
                "imports: `{own}` must not import `{name}`, only {}",
                allowed.join(", ")
            );
            Finding::new(&source.file, line, rule)
        })
        .collect()
}

/// `src/cpu/linear.rs` to `[cpu, linear]`, `src/cpu/mod.rs` to `[cpu]`.
fn module_path(file: &str) -> Option<Vec<String>> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut parts: Vec<String> = path.split('/').map(String::from).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    Some(parts)
}

/// Line and module of every path of `code` that starts at the crate's root, in `use` or in place.
fn imports<'a>(code: &'a str, module: &[String]) -> Vec<(usize, &'a str)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (mut next, root) = root_of(&tokens, at, module);
        if root {
            match tokens.get(next).map_or("", |t| t.text) {
                "{" => next = group(&tokens, next, &mut found),
                name if is_word(name) => found.push((tokens[next].line, name)),
                _ => {}
            }
        }
        at = next.max(at + 1);
    }
    found
}

/// The token after `crate::`, `gallop::` (in the binary) or as many `super::` as lead from `module` to the root.
fn root_of(tokens: &[Token<'_>], start: usize, module: &[String]) -> (usize, bool) {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|t| t.text == text);
    let from_root = is(start, "crate") || (is(start, "gallop") && module[0] == "main");
    if from_root && is(start + 1, "::") {
        return (start + 2, true);
    }
    let mut at = start;
    while is(at, "super") && is(at + 1, "::") {
        at += 2;
    }
    (at, at > start && (at - start) / 2 == module.len())
}

/// Collects the first names of a `{a::b, c::{d, e}}` that opens at `open`; gives the token behind it.
fn group<'a>(tokens: &[Token<'a>], open: usize, found: &mut Vec<(usize, &'a str)>) -> usize {
    let (mut depth, mut at, mut first) = (0, open, true);
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => first = depth == 1,
            name if first && depth == 1 && is_word(name) => {
                found.push((token.line, name));
                first = false;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn the_import_table_is_enforced() {
    let lines = |file: &str, text: &str| -> Vec<String> {
        let findings = check(&Source::new(file, text));
        findings.into_iter().map(|f| f.place).collect()
    };
    for (file, text) in [
        ("src/plan/op.rs", "//! x\nuse crate::weights::Weights;"),
        (
            "src/model/dit.rs",
            "//! x\nuse crate::{plan::Plan, executor::{Executor, Cancel}};",
        ),
        (
            "src/cpu/linear.rs",
            "//! x\nfn f() { crate::cuda::gpus(); }",
        ),
        ("src/cpu/linear.rs", "//! x\nuse super::super::model::dit;"),
        ("src/cuda/mod.rs", "//! x\nuse super::cpu::Cpu;"),
        (
            "src/pipeline/mod.rs",
            "//! x\npub(crate) use crate::device;",
        ),
        ("src/main.rs", "//! x\nuse gallop::pipeline::Pipeline;"),
        ("src/text/mod.rs", "//! x\nuse crate::\n    Pipeline;"),
    ] {
        let found = lines(file, text);
        assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
        assert!(found[0].starts_with(&format!("{file}:")), "{found:?}");
    }
    for (file, text) in [
        (
            "src/cpu/linear.rs",
            "use super::{arg::Arg, super::plan::Op};\nuse crate::{Error, Result, plan::{Op, Plan}};",
        ),
        (
            "src/cpu/norm/rms.rs",
            "use super::super::arg::Arg; use super::super::super::plan::NormWeight;",
        ),
        (
            "src/model/mod.rs",
            "// use crate::cpu::Cpu;\n#[cfg(test)]\nmod tests { use crate::cpu::Cpu; }",
        ),
        ("src/device.rs", "use crate::{cpu::Cpu, cuda};"),
        ("src/lib.rs", "pub use crate::pipeline::Pipeline;"),
        ("tests/ops.rs", "use gallop::cpu::Cpu;"),
    ] {
        assert_eq!(lines(file, text), [""; 0], "{file}: {text}");
    }
    assert_eq!(lines("src/attic/mod.rs", ""), ["src/attic/mod.rs:1"]);
}
