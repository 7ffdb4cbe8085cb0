//! Rules that look at one file.

use crate::source::{Finding, Source, strings, tokens};

const MAX_LINES: usize = 500;
/// Folders and files that may contain `unsafe`.
const UNSAFE_PLACES: [&str; 7] = [
    "src/cuda/",
    "src/ffi/",
    "src/main.rs",
    "src/weights/map.rs",
    "src/media/encode/h264.rs",
    "tests/media/h264_decoder.rs",
    "src/cpu/gemm.rs",
];
/// Marks of unfinished work, put together here so that this file has none.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
];
/// What only makes sense where the text was written: people and places of the work, not of the program.
const ELSEWHERE: [&str; 12] = [
    concat!("this ", "session"),
    concat!("another ", "session"),
    concat!("sub", "agent"),
    concat!("sub-", "agent"),
    concat!("the ", "integrator"),
    concat!("the ", "brief"),
    concat!("work", "place"),
    concat!("work", "tree"),
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("pypi", ".org"),
];
/// Parts of names that say nothing, or that are true only for a week.
const EMPTY_NAMES: [&str; 9] = [
    "helper", "helpers", "manager", "misc", "new", "old", "tmp", "util", "utils",
];

/// Rules for Rust files.
pub(crate) fn check_rust(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    if source.lines > MAX_LINES && !source.file.starts_with("tests/") {
        let rule = format!(
            "length: {} lines without tests, at most {MAX_LINES}; split it",
            source.lines
        );
        found.push(Finding::new(&source.file, source.lines, rule));
    }
    if !source.text.starts_with("//!") {
        found.push(Finding::new(
            &source.file,
            1,
            "head: begins with a `//!` comment that says what it is",
        ));
    }
    found.extend(check_unsafe(source));
    found.extend(check_options(source));
    // Tests are named by whole sentences.
    if !source.file.starts_with("tests/") {
        found.extend(check_names(source));
    }
    found
}

/// The rule for kernel files: they begin with what they compute.
pub(crate) fn check_kernel(file: &str, text: &str) -> Vec<Finding> {
    let head = text.starts_with("// ");
    let missing =
        |word: &&&str| head && file.ends_with(".cu") && !text.contains(&format!("//   {word} "));
    let mut found = Vec::new();
    if !head {
        found.push(Finding::new(
            file,
            1,
            "head: begins with a `//` comment that says what it computes",
        ));
    }
    if let Some(word) = ["launch", "bound", "math", "error"].iter().find(missing) {
        found.push(Finding::new(
            file,
            1,
            format!("head: the comment has a line `//   {word}`"),
        ));
    }
    found
}

/// Rules for every text file.
pub(crate) fn check_text(file: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(mark) = UNFINISHED.iter().find(|mark| has_word(line, mark)) {
            found.push(Finding::new(
                file,
                index + 1,
                format!("unfinished: `{mark}`; finish it or leave it out"),
            ));
        }
        let small = line.to_lowercase();
        if let Some(word) = ELSEWHERE.iter().find(|word| small.contains(*word)) {
            let rule = format!(
                "words: `{word}` is of the place where this was written, not of the program"
            );
            found.push(Finding::new(file, index + 1, rule));
        }
    }
    found
}

/// `unsafe` only where it is allowed, and each block and impl under a `SAFETY:` comment.
fn check_unsafe(source: &Source) -> Vec<Finding> {
    // A test may talk to another library's C interface, to check ours.
    let allowed = source.file.starts_with("tests/")
        || UNSAFE_PLACES
            .iter()
            .any(|place| source.file.starts_with(place));
    let lines: Vec<&str> = source.text.lines().collect();
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    for (at, token) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "unsafe")
    {
        if !allowed {
            let rule = format!("unsafe: allowed only in {}", UNSAFE_PLACES.join(", "));
            found.push(Finding::new(&source.file, token.line, rule));
        }
        let opens = tokens
            .get(at + 1)
            .is_some_and(|next| matches!(next.text, "{" | "impl"));
        if opens && !has_safety_note(&lines, token.line) {
            let rule =
                "unsafe: a `// SAFETY:` comment above names the fact and where it was established";
            found.push(Finding::new(&source.file, token.line, rule));
        }
    }
    found
}

/// Texts name no option of the command line, except where the command line is.
fn check_options(source: &Source) -> Vec<Finding> {
    let is_library = source.file.starts_with("src/")
        && !source.file.starts_with("src/cli/")
        && source.file != "src/main.rs";
    let names_option = |text: &str| {
        let mut after = text.split("--").skip(1);
        after.any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    };
    let texts = strings(&source.text).into_iter();
    let found = texts.filter(|(_, text)| is_library && names_option(text));
    let rule = "options: other doors have no `--option`; name a Field or give a Hint of src/error";
    found
        .map(|(line, _)| Finding::new(&source.file, line, rule))
        .collect()
}

/// Whether the comment above the statement around line `line` (from 1) holds `SAFETY:`.
fn has_safety_note(lines: &[&str], line: usize) -> bool {
    /// Lines that a statement may take before its `unsafe`.
    const STATEMENT: usize = 4;
    let above = |at: &usize| lines[at - 1].trim_start().starts_with("//");
    let first = line.saturating_sub(STATEMENT).max(1);
    let Some(comment) = (first..=line).rev().find(above) else {
        return false;
    };
    let block = (1..=comment).rev().take_while(above);
    block
        .into_iter()
        .any(|at| lines[at - 1].contains("SAFETY:"))
}

/// No empty words and no version numbers in the names of items and files.
fn check_names(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let file = source.file.rsplit('/').next().unwrap_or_default();
    if let Some(part) = empty_part(file.trim_end_matches(".rs")) {
        found.push(Finding::new(
            &source.file,
            1,
            format!("names: `{part}` in the file's name says nothing"),
        ));
    }
    let tokens = tokens(&source.code);
    for pair in tokens.windows(2) {
        let item = [
            "fn", "struct", "enum", "trait", "mod", "type", "const", "static",
        ]
        .contains(&pair[0].text);
        let name = pair[1].text;
        if item
            && name != "new"
            && let Some(part) = empty_part(name)
        {
            let rule = format!("names: `{part}` in `{name}` says nothing, or not for long");
            found.push(Finding::new(&source.file, pair[1].line, rule));
        }
    }
    found
}

/// The first part of a snake-case or camel-case name that is an empty word or a version.
fn empty_part(name: &str) -> Option<String> {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.ends_with(|last: char| last.is_uppercase()) {
            snake.push('_');
        }
        snake.push(c);
    }
    let parts = snake.to_lowercase();
    // `v1` and `v2` alone are the two coordinate styles of the model; behind a name they number our own versions.
    let versioned = |part: &str, at: usize| {
        at > 0 && matches!(part, "v2" | "v3" | "v4") && !parts.contains("coord")
    };
    let mut parts_of_name = parts.split('_').filter(|part| !part.is_empty()).enumerate();
    parts_of_name
        .find(|&(at, part)| EMPTY_NAMES.contains(&part) || versioned(part, at))
        .map(|(_, part)| part.to_string())
}

/// Whether `line` holds `mark` as a word of its own.
fn has_word(line: &str, mark: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(mark).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + mark.len()..]);
        !before.ends_with(word) && (mark.ends_with('!') || !after.starts_with(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: &str, text: &str) -> Vec<String> {
        let source = Source::new(file, text);
        let found = check_rust(&source)
            .into_iter()
            .chain(check_text(file, text));
        let kind = |f: Finding| f.rule.split(':').next().unwrap_or_default().to_string();
        found.map(kind).collect()
    }

    #[test]
    fn each_rule_fires_and_good_code_passes() {
        let long = "//! x\n".to_string() + &"fn a() {}\n".repeat(MAX_LINES);
        assert_eq!(rules("src/a.rs", &long), ["length"]);
        assert_eq!(rules("src/a.rs", "fn a() {}"), ["head"]);
        let documented = "//! x\n// SAFETY: y\n// more\nlet a =\n    unsafe { f() };";
        assert_eq!(rules("src/cuda/a.rs", documented), [""; 0]);
        assert_eq!(rules("src/a.rs", documented), ["unsafe"]);
        assert_eq!(
            rules("src/cpu/gemm.rs", "//! x\n\n\n\n\nlet a = unsafe { f() };"),
            ["unsafe"]
        );
        assert_eq!(
            rules("src/ffi/a.rs", "//! x\n// y\nunsafe impl Send for A {}"),
            ["unsafe"]
        );
        assert_eq!(
            rules("src/ffi/a.rs", "//! x\ntype F = unsafe fn();"),
            [""; 0]
        );
        for mark in UNFINISHED {
            assert_eq!(
                rules("src/a.rs", &format!("//! x\n// {mark} y")),
                ["unfinished"],
                "{mark}"
            );
        }
        assert_eq!(rules("src/a.rs", "//! x\n// AXXXB"), [""; 0]);
        for word in ELSEWHERE {
            assert_eq!(
                rules("src/a.rs", &format!("//! see {word}a")),
                ["words"],
                "{word}"
            );
        }
        for name in [
            "fn old_rope()",
            "struct RopeV2",
            "mod utils",
            "fn rope_v2()",
            "enum Manager",
            "const NEW_X: u8",
        ] {
            assert_eq!(
                rules("src/a.rs", &format!("//! x\n{name} {{}}")),
                ["names"],
                "{name}"
            );
        }
        assert_eq!(rules("src/utils.rs", "//! x"), ["names"]);
        assert_eq!(
            rules("tests/a.rs", "//! x\nfn the_old_file_stays() {}"),
            [""; 0]
        );
        assert_eq!(
            rules("tests/a.rs", "//! x\n\n// SAFETY: y\nunsafe { f() };"),
            [""; 0]
        );
        for name in [
            "fn new()",
            "fn renew()",
            "fn v1()",
            "struct CoordinatesV2",
            "fn threshold()",
        ] {
            assert_eq!(
                rules("src/a.rs", &format!("//! x\n{name} {{}}")),
                [""; 0],
                "{name}"
            );
        }
    }

    #[test]
    fn options_are_named_where_the_command_line_is() {
        for (text, broken) in [
            (r#"f("use --size 256p");"#, 1),
            ("f(r#\"a\n  --size\"#);", 1),
            ("#[cfg(test)]\nmod tests { const A: &str = \"--size\"; }", 1),
            (r#"f("a -- b --- -s");"#, 0),
            ("// see \"--size\"\nlet a = b --c;", 0),
        ] {
            let text = format!("//! x\n{text}");
            assert_eq!(rules("src/a.rs", &text), vec!["options"; broken], "{text}");
            for door in ["src/cli/a.rs", "src/main.rs", "tests/a.rs"] {
                assert_eq!(rules(door, &text), [""; 0], "{door}: {text}");
            }
        }
    }

    #[test]
    fn kernels_say_what_they_compute_and_how_far_off_they_are() {
        let good = "// rope: y = x\n//   launch  grid\n//   bound   HBM\n//   math    f32\n//   error   1 ulp\n";
        assert!(check_kernel("kernels/common/rope.cu", good).is_empty());
        assert_eq!(
            check_kernel("kernels/common/rope.cu", &good.replace("bound", "limit")).len(),
            1
        );
        assert_eq!(
            check_kernel("kernels/common/rope.cu", "#include <x>").len(),
            1
        );
        assert!(check_kernel("kernels/common.cuh", "// What kernels share.").is_empty());
    }
}
