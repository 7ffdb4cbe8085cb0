//! A kernel file as Rust sees it: its constants and its entry points with the types of their parameters.
//!
//! `build.rs` includes this file and `signature.rs`, which parses the sources into it.

use std::fmt;

/// The parts of a kernel file that Rust needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Integer constants at the file's top level, in order.
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
    /// The template that K_INSTANTIATE instantiates, and its arguments that are not types.
    pub(crate) made_from: Option<(String, String)>,
}

/// One parameter of an entry point.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The template's name of the pointee type, if it is a template parameter.
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

/// Pointee types.
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
    /// The type of these C++ tokens, if a parameter may have it.
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
