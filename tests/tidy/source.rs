//! Source files as the rules see them: the text, and the text with comments, strings and unit tests blanked out.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `src/plan/op.rs:12`.
    pub(crate) place: String,
    /// The rule, and what to do.
    pub(crate) rule: String,
}

impl Finding {
    pub(crate) fn new(file: &str, line: usize, rule: impl Into<String>) -> Self {
        Self {
            place: format!("{file}:{line}"),
            rule: rule.into(),
        }
    }
}

/// A Rust file.
pub(crate) struct Source {
    /// Path from the root, with forward slashes.
    pub(crate) file: String,
    /// As it stands.
    pub(crate) text: String,
    /// Comments, strings and `#[cfg(test)]` modules replaced by spaces; lines stay where they are.
    pub(crate) code: String,
    /// Lines without unit tests.
    pub(crate) lines: usize,
    /// Those of them with code: neither blank nor only a comment. What budgets count.
    pub(crate) code_lines: usize,
}

impl Source {
    pub(crate) fn new(file: impl Into<String>, text: impl Into<String>) -> Self {
        let (file, text) = (file.into(), text.into());
        let code = blank_comments_and_strings(&text);
        let (code, tests) = blank_tests(&code);
        let all_tests = file.ends_with("/tests.rs");
        let lines = if all_tests {
            0
        } else {
            text.lines().count() - tests
        };
        let has_code = |line: &&str| !line.trim().is_empty();
        let code_lines = if all_tests {
            0
        } else {
            code.lines().filter(has_code).count()
        };
        Self {
            file,
            text,
            code,
            lines,
            code_lines,
        }
    }
}

/// All files below `folder` whose names end in one of `endings`, sorted; paths from `root`.
pub(crate) fn files(root: &Path, folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let file = path.strip_prefix(root).unwrap().to_string_lossy();
                found.push((file.replace('\\', "/"), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Replaces comments and the insides of strings and character literals by spaces.
pub(crate) fn blank_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (part, is_code) in parts(text) {
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        match is_code {
            true => out.push_str(&part),
            false => out.extend(part.chars().map(blank)),
        }
    }
    out
}

/// The string literals of `text` with their quotes, each with the line that it begins in.
pub(crate) fn strings(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut line) = (Vec::new(), 1);
    for (part, is_code) in parts(text) {
        let lines = part.matches('\n').count();
        if !is_code && part.starts_with(['"', 'r']) {
            found.push((line, part));
        }
        line += lines;
    }
    found
}

/// `text` in pieces: code, and whole comments, strings and character literals.
fn parts(text: &str) -> Vec<(String, bool)> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts: Vec<(String, bool)> = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            '\'' => character_end(&chars, at),
            'r' if !follows_word(&chars, at) => raw_string_end(&chars, at),
            _ => at,
        };
        if end > at {
            parts.push((chars[at..end].iter().collect(), false));
            at = end;
            continue;
        }
        match parts.last_mut() {
            Some((code, true)) => code.push(chars[at]),
            _ => parts.push((chars[at].into(), true)),
        }
        at += 1;
    }
    parts
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b'
}

fn line_end(chars: &[char], at: usize) -> usize {
    let rest = chars[at..].iter().position(|&c| c == '\n');
    rest.map_or(chars.len(), |n| at + n)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `'x'` or `'\n'`; a lifetime is none of these.
fn character_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let close = chars[(at + 3).min(chars.len())..]
                .iter()
                .position(|&c| c == '\'');
            close.map_or(at, |n| at + 3 + n + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let closes = |&i: &usize| {
        chars[i] == '"'
            && chars[i + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
    };
    (open + 1..chars.len())
        .find(closes)
        .map_or(chars.len(), |i| i + 1 + hashes)
}

/// Blanks modules under `#[cfg(test)]`; also says how many lines they take.
fn blank_tests(code: &str) -> (String, usize) {
    let mut out = code.to_string();
    let mut lines = 0;
    let mut from = 0;
    while let Some(start) = out[from..].find("#[cfg(test)]").map(|n| from + n) {
        let rest = &out[start..];
        let open = rest.find('{').unwrap_or(rest.len());
        let end = match rest.find(';') {
            // `mod tests;` and `use` lines end before any brace opens.
            Some(semicolon) if semicolon < open => semicolon + 1,
            _ => open + braces_end(&rest[open..]),
        };
        let span = &out[start..start + end];
        lines += span.lines().count();
        let blank: String = span
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(start..start + end, &blank);
        from = start + blank.len();
    }
    (out, lines)
}

fn braces_end(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// A word or a mark of the code, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// Words, `::` and single marks.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (index, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let length = match word.unwrap_or(rest.len()) {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                length => length,
            };
            tokens.push(Token {
                text: &rest[..length],
                line: index + 1,
            });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text = r##"//! head
use a; /* x /* y */ z */ let s = "unsafe () \" // no"; let c = '"'; let l: &'static str = r#"un"safe"#;
let d = '\''; call(); // unsafe
#[cfg(test)]
mod tests {
    fn f() { unsafe {} }
}
fn after() {}"##;
    let source = Source::new("src/a.rs", text);
    assert!(!source.code.contains("safe") && !source.code.contains("head"));
    assert!(source.code.contains("call()") && source.code.contains("&'static str"));
    assert!(source.code.contains("fn after() {}") && !source.code.contains("fn f"));
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert_eq!(source.lines, 8 - 4);
    assert_eq!(Source::new("src/plan/tests.rs", "fn a() {}\n").lines, 0);
    let sparse = "//! Head.\n\nfn a() {\n    // Why.\n    b();\n}\n";
    assert_eq!(Source::new("src/a.rs", sparse).code_lines, 3);
    let words: Vec<&str> = tokens("a::b<'c> {").iter().map(|t| t.text).collect();
    assert_eq!(words, ["a", "::", "b", "<", "'", "c", ">", "{"]);
    let strings = strings(text);
    let strings: Vec<(usize, &str)> = strings.iter().map(|(n, s)| (*n, s.as_str())).collect();
    let expected = [(2, r#""unsafe () \" // no""#), (2, r##"r#"un"safe"#"##)];
    assert_eq!(strings, expected);
}
