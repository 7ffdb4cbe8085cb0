//! No two types of `src` have one name: who searches for one should not find another.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Finding, Source, tokens};

/// Names of public types in more than one place.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut places: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    for source in sources.iter().filter(|s| s.file.starts_with("src/")) {
        for (name, line) in public_types(source) {
            places.entry(name).or_default().push((&source.file, line));
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
        .iter()
        .map(|(name, places)| {
            let files: BTreeSet<&str> = places.iter().map(|&(file, _)| file).collect();
            let rule =
                format!("types: `{name}` is the name of types in {files:?}; rename all but one");
            Finding::new(places[1].0, places[1].1, rule)
        })
        .collect()
}

/// Names and lines of the types that are `pub` or `pub(crate)`.
fn public_types(source: &Source) -> Vec<(&str, usize)> {
    let tokens = tokens(&source.code);
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let public = (0..tokens.len()).filter(|&at| is(at, "pub"));
    let declared = public.filter_map(|at| {
        let in_crate = is(at + 1, "(") && is(at + 2, "crate") && is(at + 3, ")");
        let kind = at + if in_crate { 4 } else { 1 };
        let kind = kind + usize::from(is(kind, "unsafe"));
        let is_type = ["struct", "enum", "trait", "type", "union"]
            .iter()
            .any(|word| is(kind, word));
        let name = tokens.get(kind + 1).filter(|_| is_type)?;
        Some((name.text, name.line))
    });
    declared.collect()
}

#[test]
fn a_second_type_of_one_name_is_found() {
    let check = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files
            .iter()
            .map(|&(f, text)| Source::new(f, text))
            .collect();
        let found = check(&sources);
        found.into_iter().map(|f| f.place).collect::<Vec<String>>()
    };
    let first = ("src/a.rs", "pub struct Row<T>(T);");
    for second in [
        "\npub(crate) enum Row {}",
        "\npub trait Row {}",
        "\npub unsafe trait Row {}",
        "\npub type Row = u8;",
    ] {
        let files = [first, ("src/b.rs", second)];
        assert_eq!(check(&files), ["src/b.rs:2"], "{second}");
    }
    for second in [
        "struct Row;",
        "pub(super) struct Row;",
        "pub struct Rows; pub fn f(row: Row) {}",
        "// pub struct Row;\n#[cfg(test)]\nmod tests { pub struct Row; }",
    ] {
        assert_eq!(check(&[first, ("src/b.rs", second)]), [""; 0], "{second}");
    }
    assert_eq!(check(&[first, ("tests/b.rs", first.1)]), [""; 0]);
}
