//! What Rust knows of a kernel file: its constants and its entry points with the types of their parameters.
//!
//! `build.rs` includes this file too, beside `signature.rs`, which reads it out of the sources.

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
    /// The template that K_INSTANTIATE made it from, and those of its arguments that are no types.
    pub(crate) made_from: Option<(String, String)>,
}

/// One parameter of an entry point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What the template calls the type that it points to, if its arguments say that.
    pub(crate) open: Option<String>,
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
    /// A structure of `params.h`, by value.
    Structure(String),
    /// `T*`, or `const T*` if it is only read.
    Pointer { element: &'static str, read: bool },
}

/// What a pointer may point to.
pub(crate) const ELEMENTS: [&str; 8] = [
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
            Self::Structure(name) => f.write_str(name),
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

impl Kind {
    /// The type that these words of C++ name, if a parameter may have it.
    pub(crate) fn read(words: &[&str], structures: &[String]) -> Option<Self> {
        match words {
            [name] if structures.iter().any(|known| known == name) => {
                return Some(Self::Structure((*name).into()));
            }
            ["int"] => return Some(Self::Int),
            ["float"] => return Some(Self::Float),
            ["long", "long"] => return Some(Self::Long),
            // As an entry point takes it, and as a template does.
            ["const", "__grid_constant__", "CUtensorMap"] | ["const", "CUtensorMap", "&"] => {
                return Some(Self::TensorMap);
            }
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
