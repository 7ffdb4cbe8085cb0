//! No circle of imports between the files of `src`.
//!
//! A file imports another if a path of its code, in a `use` or in place, leads to an item of the other. Paths begin at
//! `crate`, `super`, `self`, a module that the file declares, or one that it imported by name; they are followed through
//! modules and through the `use` lines of the files on the way, so that a re-export counts as the file which defines the
//! item, whoever hands it on. `mod x;` is no import, nor is a module brought in by name that nothing is taken of, nor a
//! re-export of what the file itself does not use. Unit tests do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Finding, Source, Token, tokens};

/// Floors of the GPU's rooms: a file imports from its own floor and from those before it.
const CUDA_FLOORS: [&str; 4] = [
    "src/cuda/gpu/",
    "src/cuda/lowering/",
    "src/cuda/launch/",
    "src/cuda/run/",
];

/// Re-exports of re-exports are followed this far: `use` lines may lead in a circle too.
const MAX_HOPS: usize = 16;

/// `use a::b as c;` is the path `a::b` under the name `c`; of a glob the name is `*`.
struct Use<'a> {
    path: Vec<&'a str>,
    name: &'a str,
    line: usize,
    is_public: bool,
}

struct File<'a> {
    name: &'a str,
    children: BTreeSet<&'a str>,
    uses: Vec<Use<'a>>,
    /// The tokens outside of `use` lines.
    rest: Vec<Token<'a>>,
}

/// A module's names from the crate's root, which is the empty path.
type Module<'a> = Vec<&'a str>;
type Files<'a> = BTreeMap<Module<'a>, File<'a>>;
/// For each file, the files it imports and the first line that does.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// The circles, and the imports from a floor above.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let imports = imports(sources);
    let circles = circles(&imports);
    let mut found = Vec::new();
    for circle in &circles {
        let inside = |&(file, _, other): &(&str, usize, &str)| {
            circle.contains(&file) && circle.contains(&other)
        };
        let all = imports.iter().flat_map(|(&file, others)| {
            others
                .iter()
                .map(move |(&other, &line)| (file, line, other))
        });
        let ties: Vec<String> = all
            .filter(inside)
            .map(|(file, line, other)| format!("  {file}:{line} imports {other}"))
            .collect();
        let rule = format!(
            "circle: {} files import each other\n{}",
            circle.len(),
            ties.join("\n")
        );
        found.push(Finding::new(circle[0], 1, rule));
    }
    found.extend(upward(&imports));
    found
}

/// Imports from a floor above.
fn upward(imports: &Imports<'_>) -> Vec<Finding> {
    let floor = |file: &str| CUDA_FLOORS.iter().position(|floor| file.starts_with(floor));
    let mut found = Vec::new();
    for (file, others) in imports {
        for (other, &line) in others
            .iter()
            .filter(|(other, _)| floor(other) > floor(file))
        {
            if floor(file).is_some() {
                found.push(Finding::new(
                    file,
                    line,
                    format!("floors: {other} lies above {file}"),
                ));
            }
        }
    }
    found
}

/// Groups of files each of which imports, over however many others, all of its group.
fn circles<'a>(imports: &Imports<'a>) -> Vec<Vec<&'a str>> {
    let reach = |start: &'a str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            let others = imports.get(file).into_iter().flat_map(BTreeMap::keys);
            open.extend(others.copied().filter(|&other| reached.insert(other)));
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|&file| (file, reach(file))).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
    let groups = imports.keys().map(|&file| {
        let group = imports.keys().copied();
        group
            .filter(|&other| leads(file, other) && leads(other, file))
            .collect()
    });
    let groups: BTreeSet<Vec<&str>> = groups.collect();
    groups.into_iter().filter(|group| group.len() > 1).collect()
}

fn imports<'a>(sources: &'a [Source]) -> Imports<'a> {
    let files: Files<'a> = sources
        .iter()
        .filter(|source| !source.file.ends_with("/tests.rs"))
        .filter_map(|source| Some((module(&source.file)?, file(source))))
        .collect();
    let mut imports = Imports::new();
    for (module, file) in &files {
        let mut add = |path: Option<Module<'a>>, line: usize| {
            let target = path.and_then(|path| owner(&files, &path, 0));
            if let Some(target) = target.filter(|&target| target != file.name) {
                imports
                    .entry(file.name)
                    .or_default()
                    .entry(target)
                    .or_insert(line);
            }
        };
        for import in &file.uses {
            let is_used = || file.rest.iter().any(|token| token.text == import.name);
            if !import.is_public || is_used() {
                add(absolute(module, file, &import.path), import.line);
            }
        }
        for (path, line) in paths(&file.rest) {
            add(absolute(module, file, &path), line);
        }
    }
    imports
}

fn module(file: &str) -> Option<Module<'_>> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut names: Module<'_> = path.split('/').collect();
    if names == ["lib"] || names.last() == Some(&"mod") {
        names.pop();
    }
    Some(names)
}

/// `path`, written in `module`, from the root; `None` if it leads out of the crate or is none of modules.
fn absolute<'a>(module: &[&'a str], file: &File<'a>, path: &[&'a str]) -> Option<Module<'a>> {
    let (&first, rest) = path.split_first()?;
    let start = match first {
        "crate" => vec![],
        "gallop" if module == ["main"] => vec![],
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        child if file.children.contains(child) => [module, &[child]].concat(),
        name => {
            let import = file.uses.iter().find(|import| import.name == name)?;
            if import.path[0] == name {
                return None;
            }
            absolute(module, file, &import.path)?
        }
    };
    let ups = rest.iter().take_while(|&&name| name == "super").count();
    let kept = start.len().checked_sub(ups)?;
    Some([&start[..kept], &rest[ups..]].concat())
}

/// The file that defines what `path` names; `None` if that is a whole module.
fn owner<'a>(files: &Files<'a>, path: &[&'a str], hops: usize) -> Option<&'a str> {
    let length = (0..=path.len())
        .rev()
        .find(|&length| files.contains_key(&path[..length]))?;
    // The name of a module may also be that of an item which its parent re-exports.
    let parent = match path.len() {
        0 => return None,
        all => length.min(all - 1),
    };
    let (module, rest) = path.split_at(parent);
    let file = &files[module];
    let import = file.uses.iter().find(|import| import.name == rest[0]);
    let through = import
        .filter(|_| hops < MAX_HOPS)
        .and_then(|import| absolute(module, file, &import.path))
        .map(|start| [&start[..], &rest[1..]].concat())
        .filter(|through| *through != path);
    match through {
        Some(through) => owner(files, &through, hops + 1),
        None => (length < path.len()).then_some(file.name),
    }
}

fn file(source: &Source) -> File<'_> {
    let tokens = tokens(&source.code);
    let (mut uses, mut rest, mut children) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.text == "use" {
            let is_public = at > 0 && matches!(tokens[at - 1].text, "pub" | ")");
            at += 1;
            let first = uses.len();
            use_tree(&tokens, &mut at, &[], &mut uses);
            uses[first..]
                .iter_mut()
                .for_each(|import| import.is_public = is_public);
            continue;
        }
        if let [.., before] = &rest[..]
            && (before as &Token<'_>).text == "mod"
            && tokens.get(at + 1).is_some_and(|next| next.text == ";")
        {
            children.insert(token.text);
            at += 1;
            continue;
        }
        rest.push(*token);
        at += 1;
    }
    File {
        name: &source.file,
        children,
        uses,
        rest,
    }
}

/// One tree of a `use`, from token `at` up to the `,`, `}` or `;` behind it.
fn use_tree<'a>(tokens: &[Token<'a>], at: &mut usize, prefix: &[&'a str], uses: &mut Vec<Use<'a>>) {
    let mut path = prefix.to_vec();
    while let Some(&Token { text, line }) = tokens.get(*at) {
        *at += 1;
        match text {
            "::" => {}
            "{" => {
                while tokens.get(*at).is_some_and(|token| token.text != "}") {
                    use_tree(tokens, at, &path, uses);
                    *at += usize::from(tokens.get(*at).is_some_and(|token| token.text == ","));
                }
                *at += 1;
                return;
            }
            "," | "}" | ";" => {
                *at -= 1;
                return;
            }
            _ => {
                if text != "self" || path.is_empty() {
                    path.push(text);
                }
                let next = |n: usize| tokens.get(*at + n).map_or("", |token| token.text);
                if next(0) == "::" {
                    continue;
                }
                let (name, behind) = match next(0) {
                    "as" => (next(1), 2),
                    _ => (path[path.len() - 1], 0),
                };
                if name == "*" {
                    // What a glob takes is a module's; a name that no re-export has stands for its own items.
                    path.pop();
                    path.push("*");
                }
                *at += behind;
                uses.push(Use {
                    path,
                    name,
                    line,
                    is_public: false,
                });
                return;
            }
        }
    }
}

/// The paths `a::b::c` of code, with their lines.
fn paths<'a>(tokens: &[Token<'a>]) -> Vec<(Vec<&'a str>, usize)> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let is_word = |text: &str| text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let starts = (0..tokens.len()).filter(|&at| {
        is_word(tokens[at].text) && is(at + 1, "::") && !(at > 0 && is(at - 1, "::"))
    });
    let path = |start: usize| {
        let (mut path, mut at) = (vec![tokens[start].text], start + 1);
        while is(at, "::") && tokens.get(at + 1).is_some_and(|token| is_word(token.text)) {
            path.push(tokens[at + 1].text);
            at += 2;
        }
        (path, tokens[start].line)
    };
    starts.map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        let source = |(file, text): &(&str, &str)| Source::new(format!("src/{file}.rs"), *text);
        files.iter().map(source).collect()
    }

    /// `a>b` for each import, endings left out.
    fn arrows(files: &[(&str, &str)]) -> String {
        let sources = sources(files);
        let imports = imports(&sources);
        let short = |file: &str| file["src/".len()..file.len() - ".rs".len()].to_string();
        let all = imports.iter().flat_map(|(file, others)| {
            others
                .keys()
                .map(|other| format!("{}>{}", short(file), short(other)))
        });
        all.collect::<Vec<String>>().join(" ")
    }

    #[test]
    fn a_planted_circle_is_found_and_a_tree_is_not() {
        let tree = [
            ("lib", "mod a; mod b; mod c;"),
            ("a", "use crate::b::B; fn a() { crate::c::c(); }"),
            ("b", "use super::c::{self, C}; fn b() { c::c(); }"),
            (
                "c",
                "use std::fmt; #[cfg(test)] mod tests { use crate::a::A; }",
            ),
        ];
        assert_eq!(arrows(&tree), "a>b a>c b>c");
        assert_eq!(check(&sources(&tree)), []);
        let mut circle = tree;
        circle[3].1 = "fn c() {\n crate::a::a(); }";
        let found = check(&sources(&circle));
        assert_eq!(found.len(), 1);
        for part in [
            "3 files",
            "src/a.rs:1 imports src/b.rs",
            "src/c.rs:2 imports src/a.rs",
        ] {
            assert!(found[0].rule.contains(part), "{found:?}");
        }
    }

    #[test]
    fn nothing_is_imported_from_a_floor_above() {
        let files = |gpu: &str| {
            [
                Source::new("src/cuda/mod.rs", "//! x\nmod gpu; mod run;"),
                Source::new("src/cuda/gpu/mod.rs", "//! x\npub mod a;"),
                Source::new("src/cuda/run/mod.rs", "//! x\npub mod b;"),
                Source::new("src/cuda/gpu/a.rs", gpu),
                Source::new("src/cuda/run/b.rs", "//! x\nuse crate::cuda::gpu::a::A;"),
            ]
        };
        assert_eq!(check(&files("//! x\npub struct A;")), []);
        let found = check(&files("//! x\nuse crate::cuda::run::b::B;"));
        assert!(
            found
                .iter()
                .any(|f| f.rule.starts_with("floors: src/cuda/run/b.rs")),
            "{found:?}"
        );
    }

    #[test]
    fn paths_lead_to_the_file_that_defines_the_item() {
        let room = "mod x; mod y; pub use x::X; pub(crate) use self::y::{Y as Z, y};";
        let cases = [
            // Through a re-export, under another name, and where item and module have one name.
            ("use crate::room::X;", "a>room/x"),
            (
                "use crate::{room::{self, Z}}; fn a() { room::X::new(); }",
                "a>room/x a>room/y",
            ),
            ("use crate::room::y;", "a>room/y"),
            ("use crate::room::y::deep;", "a>room/y"),
            ("use crate::X;", "a>room/x"),
            // What no re-export names is of the file itself; a module alone is nothing yet.
            ("use crate::room::here;", "a>room/mod"),
            ("use crate::room; pub(in crate::room) fn a() {}", ""),
            (
                "use crate::room as hall; fn a() { hall::here(); }",
                "a>room/mod",
            ),
            ("use crate::room::*;", "a>room/mod"),
            // A comment, a string, another crate.
            (
                "// crate::room::X\nfn a() { \"crate::room::X\"; room::X; std::room::X; }",
                "",
            ),
        ];
        for (text, expected) in cases {
            let files = [
                ("lib", "mod a; mod room; pub use room::X;"),
                ("a", text),
                ("room/mod", room),
                ("room/x", ""),
                ("room/y", ""),
            ];
            assert_eq!(arrows(&files), expected, "{text}");
        }
    }

    #[test]
    fn a_room_may_hand_on_what_lies_in_it_but_not_use_it_and_be_used() {
        let of = |room: &str| {
            let files = [
                ("lib", "mod room;"),
                ("room/mod", room),
                ("room/x", "use super::Shared; use super::super::room::y;"),
                ("room/y", ""),
            ];
            arrows(&files)
        };
        let below = "room/x>room/mod";
        assert_eq!(of("mod x; pub use x::X; pub struct Shared;"), below);
        let both = "room/mod>room/x room/x>room/mod";
        assert_eq!(of("mod x; pub use x::X; pub struct Shared(X);"), both);
        assert_eq!(of("mod x; use x::X; pub struct Shared;"), both);
        assert_eq!(of("mod x; pub struct Shared; fn f() { x::x(); }"), both);
        assert_eq!(of("mod x; mod y; pub use y::Shared;"), "room/x>room/y");
    }
}
