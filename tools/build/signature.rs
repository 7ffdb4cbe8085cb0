//! What a kernel source tells Rust: its `constexpr int` constants and the signatures of its entry points.
//!
//! `build.rs` includes this file, so it imports nothing of the crate. The grammar is small on purpose: a kernel
//! that cannot be read stops the build, because an argument list guessed wrongly is undefined behaviour on the GPU.

use std::fmt;

/// A kernel file, as far as Rust must know it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Whole-number constants of the file's top level, in order.
    pub(crate) constants: Vec<(String, i64)>,
    /// Entry points, in order.
    pub(crate) kernels: Vec<Signature>,
}

/// One entry point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) name: String,
    /// Threads of a block.
    pub(crate) threads: i64,
    /// Blocks of a cluster; 1 without clusters.
    pub(crate) cluster: i64,
    pub(crate) parameters: Vec<Parameter>,
}

/// One parameter of an entry point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// The types that a parameter may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `int`.
    Int,
    /// `long long`.
    Long,
    /// `float`.
    Float,
    /// `const __grid_constant__ CUtensorMap`.
    TensorMap,
    /// `T*`, or `const T*` if it is only read.
    Pointer { element: &'static str, read: bool },
}

/// What a pointer may point to.
const ELEMENTS: [&str; 8] = [
    "bf16",
    "e4m3",
    "float",
    "int",
    "long long",
    "unsigned char",
    "GemmTile",
    "AttentionTile",
];

impl fmt::Display for Kind {
    /// As C++ writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int => f.write_str("int"),
            Self::Long => f.write_str("long long"),
            Self::Float => f.write_str("float"),
            Self::TensorMap => f.write_str("const __grid_constant__ CUtensorMap"),
            Self::Pointer {
                element,
                read: true,
            } => write!(f, "const {element}*"),
            Self::Pointer {
                element,
                read: false,
            } => write!(f, "{element}*"),
        }
    }
}

/// Reads a kernel source; `known` are the constants of the headers.
///
/// # Errors
/// A sentence with the line of what is not of the grammar.
pub(crate) fn parse(text: &str, known: &[(String, i64)]) -> Result<Source, String> {
    let tokens = tokenise(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        known: known.to_vec(),
    };
    let (mut source, mut exports) = (
        Source {
            constants: Vec::new(),
            kernels: Vec::new(),
        },
        Vec::new(),
    );
    let mut scopes: Vec<Option<&str>> = Vec::new();
    while let Some(token) = reader.peek() {
        match token {
            "{" => scopes.push(reader.structure()),
            "}" => drop(scopes.pop()),
            "constexpr" if reader.nth(1) == "int" && reader.nth(3) != "(" => match scopes[..] {
                [] => {
                    let constants = reader.constants()?;
                    reader.known.extend_from_slice(&constants);
                    source.constants.extend(constants);
                    continue;
                }
                // Not for Rust, but other constants may be made of it as `Vec8::SIZE`.
                [Some(structure)] => reader.member(structure),
                _ => {}
            },
            "K_KERNEL" | "K_KERNEL_CLUSTER" => {
                source.kernels.push(reader.kernel()?);
                continue;
            }
            "K_EXPORT" => exports.push(reader.nth(2)),
            _ => {}
        }
        reader.at += 1;
    }
    for Signature { name, .. } in &source.kernels {
        if !exports.contains(&name.as_str()) {
            return Err(format!("`{name}` lacks its K_EXPORT({name})"));
        }
    }
    Ok(source)
}

/// The constants of a header, those of its structures as `Structure::NAME`; what cannot be read is left out.
pub(crate) fn header_constants(text: &str) -> Vec<(String, i64)> {
    let tokens = tokenise(text).unwrap_or_default();
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        known: Vec::new(),
    };
    let mut scopes: Vec<Option<&str>> = Vec::new();
    while let Some(token) = reader.peek() {
        match (token, &scopes[..]) {
            ("{", _) => scopes.push(reader.structure()),
            ("}", _) => drop(scopes.pop()),
            ("constexpr", []) => reader.member(""),
            ("constexpr", [Some(structure)]) => reader.member(structure),
            _ => {}
        }
        reader.at += 1;
    }
    reader.known
}

/// A word, a number or a mark, and its line.
type Token<'a> = (&'a str, usize);

/// Splits the text, leaving out comments and preprocessor lines.
fn tokenise(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut line_start) = (text, 1, true);
    while let Some(first) = rest.chars().next() {
        let length = if first == '\n' {
            (line, line_start) = (line + 1, true);
            rest = &rest[1..];
            continue;
        } else if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/")
                .ok_or(format!("line {line}: a comment that does not end"))?
                + 2
        } else if first == '#' && line_start {
            directive(rest)
        } else if first == '"' {
            string(rest).ok_or(format!("line {line}: a string that does not end"))?
        } else {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            let length = if end == 0 { first.len_utf8() } else { end };
            tokens.push((&rest[..length], line));
            length
        };
        if first == '#' && rest[..length].contains("K_KERNEL") {
            return Err(format!(
                "line {line}: kernels made by a macro cannot be read; write each one out"
            ));
        }
        line += rest[..length].matches('\n').count();
        line_start = false;
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Length of a preprocessor line with its continuations.
fn directive(text: &str) -> usize {
    let mut from = 0;
    while let Some(end) = text[from..].find('\n').map(|n| from + n) {
        if !text[..end].trim_end_matches('\r').ends_with('\\') {
            return end;
        }
        from = end + 1;
    }
    text.len()
}

/// Length of the string literal at the start of `text`.
fn string(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map(|(at, _)| at + 1)
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Constants that expressions may name.
    known: Vec<(String, i64)>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|&(text, _)| text)
    }

    fn nth(&self, ahead: usize) -> &'a str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |&(text, _)| text)
    }

    fn next(&mut self) -> &'a str {
        let text = self.nth(0);
        self.at += 1;
        text
    }

    /// A problem with the token read last.
    fn problem(&self, what: impl fmt::Display) -> String {
        let last = self.tokens.len().saturating_sub(1);
        let line = self
            .tokens
            .get(self.at.saturating_sub(1).min(last))
            .map_or(1, |&(_, line)| line);
        format!("line {line}: {what}")
    }

    fn expect(&mut self, mark: &str) -> Result<(), String> {
        match self.next() {
            found if found == mark => Ok(()),
            found => Err(self.problem(format_args!("expected `{mark}`, found `{found}`"))),
        }
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.next();
        if is_name(name) {
            return Ok(name.into());
        }
        Err(self.problem(format_args!("expected a name, found `{name}`")))
    }

    /// The structure whose `{` this is, if it is one's.
    fn structure(&self) -> Option<&'a str> {
        let before = |n: usize| self.at.checked_sub(n).map_or("", |at| self.tokens[at].0);
        let aligned = before(2) == ")" && before(5) == "alignas" && before(6) == "struct";
        (before(2) == "struct" || aligned).then(|| before(1))
    }

    /// Adds the constants of a structure to the known ones, if they can be read; stays where it is.
    fn member(&mut self, structure: &str) {
        let start = self.at;
        if self.nth(1) == "int"
            && let Ok(constants) = self.constants()
        {
            let path = if structure.is_empty() {
                String::new()
            } else {
                format!("{structure}::")
            };
            self.known.extend(
                constants
                    .into_iter()
                    .map(|(name, value)| (format!("{path}{name}"), value)),
            );
        }
        self.at = start;
    }

    /// `constexpr int A = 1, B = 2 * A;`
    fn constants(&mut self) -> Result<Vec<(String, i64)>, String> {
        self.at += 2;
        let mut constants = Vec::new();
        loop {
            let name = self.name()?;
            self.expect("=")?;
            let value = self
                .sum()
                .map_err(|why| format!("{why} (in constexpr int {name})"))?;
            if value < 0 {
                return Err(self.problem(format_args!(
                    "`{name}` is {value}; constants are sizes and cannot be negative"
                )));
            }
            constants.push((name, value));
            match self.next() {
                ";" => return Ok(constants),
                "," => {}
                other => return Err(self.problem(format_args!("expected `;`, found `{other}`"))),
            }
        }
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut value = self.product()?;
        while matches!(self.nth(0), "+" | "-") {
            let plus = self.next() == "+";
            let right = self.product()?;
            let result = if plus {
                value.checked_add(right)
            } else {
                value.checked_sub(right)
            };
            value = self.in_range(result)?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut value = self.factor()?;
        while matches!(self.nth(0), "*" | "/" | "%") {
            let mark = self.next();
            let right = self.factor()?;
            let result = match mark {
                "*" => value.checked_mul(right),
                "/" => value.checked_div(right),
                _ => value.checked_rem(right),
            };
            value = self.in_range(result)?;
        }
        Ok(value)
    }

    fn factor(&mut self) -> Result<i64, String> {
        let token = self.next();
        if token == "(" {
            let value = self.sum()?;
            self.expect(")")?;
            return Ok(value);
        }
        let mut name = token.to_string();
        while self.nth(0) == ":" && self.nth(1) == ":" {
            name = format!("{name}::{}", self.nth(2));
            self.at += 3;
        }
        let known = self.known.iter().rev().find(|(known, _)| *known == name);
        let number = name.strip_prefix("0x").map_or_else(
            || name.parse().ok(),
            |hex| i64::from_str_radix(hex, 16).ok(),
        );
        known.map(|&(_, value)| value).or(number).ok_or_else(|| {
            self.problem(format_args!(
                "`{name}` is neither a number nor a constant of the kernels; write the number and static_assert it"
            ))
        })
    }

    fn in_range(&self, value: Option<i64>) -> Result<i64, String> {
        let value = value.filter(|&value| i32::try_from(value).is_ok());
        value.ok_or_else(|| self.problem("the value does not fit an int"))
    }

    /// `K_KERNEL(threads, min_blocks) name(parameters) {` or `K_KERNEL_CLUSTER(threads, min_blocks, blocks) …`.
    fn kernel(&mut self) -> Result<Signature, String> {
        let in_cluster = self.next() == "K_KERNEL_CLUSTER";
        self.expect("(")?;
        let threads = self.sum()?;
        self.expect(",")?;
        self.sum()?;
        let mut cluster = 1;
        if in_cluster {
            self.expect(",")?;
            cluster = self.sum()?;
        }
        self.expect(")")?;
        if !(32..=1024).contains(&threads) || !(1..=8).contains(&cluster) {
            return Err(self.problem(format_args!(
                "{threads} threads in clusters of {cluster} cannot be launched"
            )));
        }
        let name = self.name()?;
        self.expect("(")?;
        let mut parameters: Vec<Parameter> = Vec::new();
        while self.nth(0) != ")" {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            parameters.push(self.parameter(&name)?);
        }
        self.at += 1;
        self.expect("{")?;
        self.at -= 1;
        Ok(Signature {
            name,
            threads,
            cluster,
            parameters,
        })
    }

    fn parameter(&mut self, kernel: &str) -> Result<Parameter, String> {
        let start = self.at;
        while !matches!(self.nth(0), "," | ")" | "") {
            self.at += 1;
        }
        let words: Vec<&str> = self.tokens[start..self.at]
            .iter()
            .map(|&(text, _)| text)
            .collect();
        let (&name, kind) = words.split_last().unwrap_or((&"", &[]));
        let named = is_name(name).then_some(kind);
        let kind = named.and_then(Kind::read).ok_or_else(|| {
            self.problem(format_args!(
                "`{}` of `{kernel}` is not int, long long, float, const __grid_constant__ CUtensorMap, or a pointer to {}",
                words.join(" "),
                ELEMENTS.join(", "),
            ))
        })?;
        Ok(Parameter {
            name: name.into(),
            kind,
        })
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

impl Kind {
    fn read(words: &[&str]) -> Option<Self> {
        match words {
            ["int"] => return Some(Self::Int),
            ["float"] => return Some(Self::Float),
            ["long", "long"] => return Some(Self::Long),
            ["const", "__grid_constant__", "CUtensorMap"] => return Some(Self::TensorMap),
            _ => {}
        }
        let words = words.strip_suffix(&["__restrict__"]).unwrap_or(words);
        let words = words.strip_suffix(&["*"])?;
        let read = words.first() == Some(&"const");
        let element = words[usize::from(read)..].join(" ");
        let element = *ELEMENTS.iter().find(|&&known| known == element)?;
        Some(Self::Pointer { element, read })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(parameters: &str) -> Result<Source, String> {
        let text = format!("K_KERNEL(256, 1) k({parameters}) {{}}\nK_EXPORT(k)");
        parse(&text, &[])
    }

    #[test]
    fn a_source_gives_its_constants_and_entry_points() {
        let text = r#"// K_KERNEL(1, 1) in_a_comment(int a) {}
            #define WIDE(x) \
                (x * 2)
            constexpr int THREADS = 128 + 2 * 128, TILE = 0x80;
            constexpr int STAGE_BYTES = (TILE + 256) * 64 * 2 / 3 % 100000;  /* bytes */
            constexpr float EPS = 1e-6f;
            constexpr int twice(int x) { constexpr int two = 2; return two * x; }
            static_assert(TILE % 8 == 0, "say \"why\" { K_KERNEL(");
            template <int N> K_DEVICE void body(int n) { }
            K_KERNEL_CLUSTER(THREADS, 1, 2) gemm(bf16* __restrict__ d, const float* scale,
                const __grid_constant__ CUtensorMap map_a, long long n, unsigned char* bytes) { body<4>(n); }
            K_EXPORT(gemm)"#;
        let source = parse(text, &[]).unwrap();
        let constants: Vec<_> = source
            .constants
            .iter()
            .map(|(n, v)| (n.as_str(), *v))
            .collect();
        assert_eq!(
            constants,
            [("THREADS", 384), ("TILE", 128), ("STAGE_BYTES", 16384)]
        );
        let [gemm] = &source.kernels[..] else {
            panic!("{source:?}")
        };
        assert_eq!(
            (gemm.name.as_str(), gemm.threads, gemm.cluster),
            ("gemm", 384, 2)
        );
        let parameters: Vec<String> = gemm
            .parameters
            .iter()
            .map(|p| format!("{} {}", p.kind, p.name))
            .collect();
        assert_eq!(
            parameters,
            [
                "bf16* d",
                "const float* scale",
                "const __grid_constant__ CUtensorMap map_a",
                "long long n",
                "unsigned char* bytes"
            ]
        );
    }

    #[test]
    fn constants_may_be_made_of_those_of_headers_and_structures() {
        let header = "#pragma once\nconstexpr int LANES = 32; constexpr int ODD = sizeof(int);
            struct alignas(16) Vec8 { static constexpr int SIZE = 8; float v[SIZE]; void f() { constexpr int IN = 1; } };
            template <int N> struct Wide { static constexpr int SIZE = N; };";
        let known = header_constants(header);
        assert_eq!(
            known,
            [("LANES".to_string(), 32), ("Vec8::SIZE".to_string(), 8)]
        );
        let text = "struct S { static constexpr int HALF = 4; int x; };
            constexpr int COLS = LANES * Vec8::SIZE / S::HALF; namespace { constexpr int HIDDEN = 1; }";
        let source = parse(text, &known).unwrap();
        assert_eq!(source.constants, [("COLS".to_string(), 64)]);
        assert!(parse(text, &[]).unwrap_err().contains("`LANES` is neither"));
    }

    #[test]
    fn types_outside_the_list_are_refused_by_name() {
        for bad in [
            "double x",
            "unsigned n",
            "CUtensorMap m",
            "const CUtensorMap* m",
            "float** x",
            "half* x",
            "bf16& x",
            "int",
            "const int n",
            "float x[4]",
            "bf16 x",
            "int *",
        ] {
            let why = kernel(bad).unwrap_err();
            assert!(
                why.starts_with("line 1: ") && why.contains("of `k` is not int"),
                "{bad}: {why}"
            );
        }
        assert!(kernel("").unwrap().kernels[0].parameters.is_empty());
    }

    #[test]
    fn whatever_cannot_be_read_says_where_and_why() {
        for (text, words) in [
            (
                "\nconstexpr int N = sizeof(Shared);",
                "line 2: `sizeof` is neither a number",
            ),
            ("constexpr int N = OTHER;", "in constexpr int N"),
            ("constexpr int N = 1 / 0;", "does not fit an int"),
            ("constexpr int N = 65536 * 65536;", "does not fit an int"),
            ("constexpr int N = 1 - 2;", "cannot be negative"),
            ("constexpr int N = 1", "expected `;`"),
            ("constexpr int N[2] = {1, 2};", "expected `=`"),
            ("K_KERNEL(16, 1) k() {} K_EXPORT(k)", "16 threads"),
            (
                "K_KERNEL(THREADS, 1) k() {} K_EXPORT(k)",
                "`THREADS` is neither",
            ),
            ("K_KERNEL_CLUSTER(64, 1) k() {} K_EXPORT(k)", "expected `,`"),
            ("K_KERNEL(64, 1) k(int n", "expected `,`, found ``"),
            ("K_KERNEL(64, 1) k();", "expected `{`"),
            ("K_KERNEL(64, 1) k() {}", "`k` lacks its K_EXPORT(k)"),
            ("#define K(n) K_KERNEL(64, 1) n() {}", "made by a macro"),
            ("/* no end", "does not end"),
            ("\"no end", "does not end"),
        ] {
            let why = parse(text, &[]).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        let text = "constexpr int A = (1 + 2);K_KERNEL_CLUSTER(64, 1, 2) k(const bf16* x, int n) {}\nK_EXPORT(k) \"é\" #";
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _ = parse(&text[..end], &[]);
            header_constants(&text[..end]);
            let _ = parse(&text[end..], &[]);
        }
    }
}
