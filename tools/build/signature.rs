//! Parses a kernel source: its `constexpr int` constants and the signatures of its entry points.
//!
//! `build.rs` includes this file, so it imports nothing of the crate. The grammar is small on purpose: a kernel that
//! does not parse stops the build, because a wrongly guessed argument list is undefined behaviour on the GPU.

use std::fmt;

use super::{
    entry_point::{ELEMENTS, Kind, Parameter, Signature, Source},
    tokens::{Token, tokenise},
};

/// The most parameters of an entry point; one that needs more takes its sizes in a structure.
const MAX_PARAMETERS: usize = 10;

/// Parses a kernel source; `known` are the constants of the headers, `structures` the types passed by value.
///
/// # Errors
/// A sentence with the line that does not parse.
pub(crate) fn parse(
    text: &str,
    known: &[(String, i64)],
    structures: &[String],
) -> Result<Source, String> {
    let tokens = tokenise(text)?;
    let mut reader = Reader {
        structures,
        ..Reader::new(&tokens, known)
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
                // Not for Rust, but other constants may use it as `Vec8::SIZE`.
                [Some(structure)] => reader.member(structure),
                _ => {}
            },
            "K_KERNEL" | "K_KERNEL_CLUSTER" => {
                source.kernels.push(reader.kernel()?);
                continue;
            }
            "K_INSTANTIATE" | "K_INSTANTIATE_MAPS" | "K_INSTANTIATE_CLUSTER" => {
                source.kernels.push(reader.instance()?);
                continue;
            }
            "template" => reader.template(),
            "K_EXPORT" => exports.push(reader.nth(2)),
            _ => {}
        }
        reader.at += 1;
    }
    for Signature {
        name, made_from, ..
    } in &source.kernels
    {
        if made_from.is_none() && !exports.contains(&name.as_str()) {
            return Err(format!("`{name}` lacks its K_EXPORT({name})"));
        }
    }
    Ok(source)
}

/// The constants of a header, those of its structures as `Structure::NAME`, without those that do not parse. `known` are
/// the constants of the headers that it includes.
pub(crate) fn header_constants(text: &str, known: &[(String, i64)]) -> Vec<(String, i64)> {
    let tokens = tokenise(text).unwrap_or_default();
    let mut reader = Reader::new(&tokens, known);
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
    reader.known.split_off(known.len())
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Constants that expressions may name.
    known: Vec<(String, i64)>,
    /// Structures that may be passed by value.
    structures: &'a [String],
    templates: Vec<Template<'a>>,
}

/// A function template.
#[derive(Clone)]
struct Template<'a> {
    name: &'a str,
    /// Template parameters: the name of a class, or none for a value.
    classes: Vec<Option<&'a str>>,
    /// Position of the function's parameters.
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(tokens: &'a [Token<'a>], known: &[(String, i64)]) -> Self {
        Self {
            tokens,
            at: 0,
            known: known.to_vec(),
            structures: &[],
            templates: Vec::new(),
        }
    }

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

    /// An error at the last token.
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

    /// The structure that this `{` opens, if any.
    fn structure(&self) -> Option<&'a str> {
        let before = |n: usize| self.at.checked_sub(n).map_or("", |at| self.tokens[at].0);
        let aligned = before(2) == ")" && before(5) == "alignas" && before(6) == "struct";
        (before(2) == "struct" || aligned).then(|| before(1))
    }

    /// Adds the constants of a structure to the known ones, if they parse; does not advance.
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

    /// Records `template <…> DEVICE void name(`; does not advance.
    fn template(&mut self) {
        let start = self.at;
        self.at += 2;
        let classes = self.list().into_iter().map(|words| match words[..] {
            ["class", name] => Some(name),
            _ => None,
        });
        let classes = classes.collect();
        if (self.nth(0), self.nth(1), self.nth(3)) == ("DEVICE", "void", "(") {
            self.templates.push(Template {
                name: self.nth(2),
                classes,
                at: self.at + 4,
            });
        }
        self.at = start;
    }

    /// The items between commas up to the closing mark, which is consumed.
    fn list(&mut self) -> Vec<Vec<&'a str>> {
        let (mut items, mut depth) = (vec![Vec::new()], 0);
        while let Some(word) = self.peek() {
            self.at += 1;
            match word {
                "(" | "<" => depth += 1,
                ")" | ">" if depth == 0 => break,
                ")" | ">" => depth -= 1,
                "," if depth == 0 => {
                    items.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            if let Some(last) = items.last_mut() {
                last.push(word);
            }
        }
        items
    }

    /// `K_INSTANTIATE(threads, min_blocks, count, name, template<arguments>)`, the same with `_MAPS`, or with `_CLUSTER` and
    /// the blocks of a cluster after `min_blocks`.
    fn instance(&mut self) -> Result<Signature, String> {
        let plain = self.nth(0) == "K_INSTANTIATE";
        let (threads, cluster) = self.bounds()?;
        self.expect(",")?;
        let count = self.sum()?;
        self.expect(",")?;
        let name = self.name()?;
        self.expect(",")?;
        let of = self.name()?;
        self.expect("<")?;
        let arguments = self.list();
        self.expect(")")?;
        let fits = |t: &&Template<'_>| t.name == of && t.classes.len() == arguments.len();
        let found = self.templates.iter().rfind(fits).cloned();
        let template = found.ok_or_else(|| {
            self.problem(format_args!(
                "there is no template `{of}` of {} arguments above",
                arguments.len()
            ))
        })?;
        let pairs = || template.classes.iter().zip(&arguments);
        let types: Vec<(&str, &[&str])> = pairs()
            .filter_map(|(class, words)| Some(((*class)?, &words[..])))
            .collect();
        let values: Vec<String> = pairs()
            .filter(|(class, _)| class.is_none())
            .map(|(_, words)| words.concat())
            .collect();
        let end = std::mem::replace(&mut self.at, template.at);
        let parameters = self.parameters(&name, &types)?;
        self.at = end;
        if plain && parameters.iter().any(|p| p.kind == Kind::TensorMap) {
            return Err(self.problem(format_args!(
                "`{of}` takes tensor maps, which need K_INSTANTIATE_MAPS"
            )));
        }
        if count != parameters.len() as i64 {
            return Err(self.problem(format_args!(
                "`{of}` has {} parameters, not {count}",
                parameters.len()
            )));
        }
        Ok(Signature {
            name,
            threads,
            cluster,
            parameters,
            made_from: Some((of, values.join(", "))),
        })
    }

    /// `K_KERNEL(threads, min_blocks) name(parameters) {` or `K_KERNEL_CLUSTER(threads, min_blocks, blocks) …`.
    fn kernel(&mut self) -> Result<Signature, String> {
        let (threads, cluster) = self.bounds()?;
        self.expect(")")?;
        let name = self.name()?;
        self.expect("(")?;
        let parameters = self.parameters(&name, &[])?;
        self.expect("{")?;
        self.at -= 1;
        Ok(Signature {
            name,
            threads,
            cluster,
            parameters,
            made_from: None,
        })
    }

    /// `…(threads, min_blocks`, or `…_CLUSTER(threads, min_blocks, blocks`: threads of a block and blocks of a cluster.
    fn bounds(&mut self) -> Result<(i64, i64), String> {
        let in_cluster = self.next().ends_with("_CLUSTER");
        self.expect("(")?;
        let threads = self.sum()?;
        self.expect(",")?;
        self.sum()?;
        let mut cluster = 1;
        if in_cluster {
            self.expect(",")?;
            cluster = self.sum()?;
        }
        if !(32..=1024).contains(&threads) || !(1..=8).contains(&cluster) {
            return Err(self.problem(format_args!(
                "{threads} threads in clusters of {cluster} cannot be launched"
            )));
        }
        Ok((threads, cluster))
    }

    /// The parameters of an entry point up to the closing mark, which is consumed; `types` are the template's classes.
    fn parameters(
        &mut self,
        kernel: &str,
        types: &[(&str, &[&str])],
    ) -> Result<Vec<Parameter>, String> {
        let mut parameters: Vec<Parameter> = Vec::new();
        while self.nth(0) != ")" {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            parameters.push(self.parameter(kernel, types)?);
        }
        self.at += 1;
        if parameters.len() > MAX_PARAMETERS {
            return Err(self.problem(format_args!(
                "`{kernel}` has {} parameters, more than {MAX_PARAMETERS}; pass sizes in a structure of params.h",
                parameters.len()
            )));
        }
        Ok(parameters)
    }

    fn parameter(&mut self, kernel: &str, types: &[(&str, &[&str])]) -> Result<Parameter, String> {
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
        let class = kind
            .iter()
            .find_map(|word| types.iter().find(|(class, _)| class == word));
        let closed = |word: &&'a str| match class {
            Some((name, of)) if name == word => of.to_vec(),
            _ => vec![*word],
        };
        let read = |kind: &[&'a str]| {
            let words: Vec<&str> = kind.iter().flat_map(closed).collect();
            Kind::read(&words, self.structures)
        };
        let kind = named.and_then(read).ok_or_else(|| {
            self.problem(format_args!(
                "`{}` of `{kernel}` is not int, long long, float, const __grid_constant__ CUtensorMap, a structure of \
                 params.h, or a pointer to {}",
                words.join(" "),
                ELEMENTS.join(", "),
            ))
        })?;
        Ok(Parameter {
            name: name.into(),
            kind,
            open: class.map(|&(name, _)| name.into()),
        })
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::structures, *};

    fn kernel(parameters: &str) -> Result<Source, String> {
        let text = format!("K_KERNEL(256, 1) k({parameters}) {{}}\nK_EXPORT(k)");
        parse(&text, &[], &["Sizes".into()])
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
        let source = parse(text, &[], &[]).unwrap();
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
        let known = header_constants(header, &[]);
        assert_eq!(
            known,
            [("LANES".to_string(), 32), ("Vec8::SIZE".to_string(), 8)]
        );
        let more = header_constants("constexpr int COLS = 2 * LANES;", &known);
        assert_eq!(more, [("COLS".to_string(), 64)]);
        let text = "struct S { static constexpr int HALF = 4; int x; };
            constexpr int COLS = LANES * Vec8::SIZE / S::HALF; namespace { constexpr int HIDDEN = 1; }";
        let source = parse(text, &known, &[]).unwrap();
        assert_eq!(source.constants, [("COLS".to_string(), 64)]);
        assert!(
            parse(text, &[], &[])
                .unwrap_err()
                .contains("`LANES` is neither")
        );
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
    fn ten_parameters_are_enough_and_structures_keep_it_so() {
        let header = "struct Pair { int a; int b; };
            struct alignas(16) Tile { int row; Pair keys[3]; }; struct Sizes { Pair p; float f; };
            struct Pointer { int n; float* p; }; struct Wide { int n; double d; };";
        assert_eq!(structures(header), ["Pair", "Tile", "Sizes"]);
        let sizes = kernel("Sizes s").unwrap();
        let [only] = &sizes.kernels[0].parameters[..] else {
            panic!("{sizes:?}")
        };
        assert_eq!(only.kind, Kind::Structure("Sizes".into()));
        let ints = |count: usize| vec!["int n"; count].join(", ");
        assert_eq!(kernel(&ints(10)).unwrap().kernels[0].parameters.len(), 10);
        let why = kernel(&ints(11)).unwrap_err();
        assert!(why.contains("`k` has 11 parameters, more than 10"), "{why}");
    }

    #[test]
    fn entry_points_are_made_of_templates() {
        let text = "template <int N, class Out, float (*F)(float)>
            DEVICE void map(Out* y, const CUtensorMap& x_map, const Out* z, const bf16* w, int n) {}
            template <class T> DEVICE T unread(T (&x)[3]) {}
            K_INSTANTIATE_MAPS(64, 1, 5, map_f32, map<32, float, gelu<3>>)
            K_INSTANTIATE_CLUSTER(64, 1, 2, 5, map_e4m3, map<32, e4m3, gelu<3>>)";
        let source = parse(text, &[], &[]).unwrap();
        let [first, second] = &source.kernels[..] else {
            panic!("{source:?}")
        };
        let template = Some(("map".to_string(), "32, gelu<3>".to_string()));
        assert_eq!(
            (&first.made_from, &second.made_from),
            (&template, &template)
        );
        assert_eq!((first.cluster, second.cluster), (1, 2));
        let shown = |p: &Parameter| format!("{} {} {:?}", p.kind, p.name, p.open);
        let shown: Vec<String> = second.parameters.iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                r#"e4m3* y Some("Out")"#,
                "const __grid_constant__ CUtensorMap x_map None",
                r#"const e4m3* z Some("Out")"#,
                "const bf16* w None",
                "int n None",
            ]
        );
        for (instead, words) in [
            ("map<32, half, gelu>", "`Out * y` of `k` is not int"),
            ("map<32, float>", "no template `map` of 2 arguments"),
            ("other<int>", "no template `other`"),
            ("unread<float>", "no template `unread`"),
        ] {
            let text = format!("{text} K_INSTANTIATE_MAPS(64, 1, 5, k, {instead})");
            let why = parse(&text, &[], &[]).unwrap_err();
            assert!(why.contains(words), "{instead}: {why}");
        }
        let why = parse(&text.replace("_MAPS", ""), &[], &[]).unwrap_err();
        assert!(why.contains("need K_INSTANTIATE_MAPS"), "{why}");
        let text = text.replace("1, 5, map_f32", "1, 4, map_f32");
        let why = parse(&text, &[], &[]).unwrap_err();
        assert!(why.contains("`map` has 5 parameters, not 4"), "{why}");
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
            let why = parse(text, &[], &[]).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        let text = "constexpr int A = (1 + 2);K_KERNEL_CLUSTER(64, 1, 2) k(const bf16* x, int n) {}\nK_EXPORT(k) \"é\" #";
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let _ = parse(&text[..end], &[], &[]);
            header_constants(&text[..end], &[]);
            let _ = parse(&text[end..], &[], &[]);
        }
    }
}
