//! Number formats of linear layers.

use std::{collections::BTreeMap, fmt};

use super::Shape;

/// What the weight of a linear layer is stored as and both operands of its matmul are multiplied as.
///
/// Whoever cannot do one of these refuses it where it matches on them: a new variant does not compile until everyone
/// has said what becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// bf16, as the reference computes.
    Bf16,
    /// E4M3, the weight with scales of this granularity.
    Fp8(Granularity),
}

/// Which elements of a quantised weight share a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// Those of an output row.
    Row,
}

/// Formats by layer, the name in front of `.weight`; a layer without one is [`Format::Bf16`].
pub type LayerFormats = BTreeMap<String, Format>;

impl Format {
    /// What `--precision fp8` means and `gallop pack` writes.
    pub const FP8: Self = Self::Fp8(Granularity::Row);
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Fp8(Granularity::Row) => "FP8",
        })
    }
}

impl Granularity {
    /// Shape of the scales of a weight `[rows, cols]`.
    pub fn scales(self, weight: &Shape) -> Shape {
        match self {
            Self::Row => [1, weight.rows()].into(),
        }
    }
}

/// How many layers are of which format, such as `12 layers in FP8`.
pub fn summary(formats: &LayerFormats) -> String {
    let mut counts: Vec<(Format, usize)> = Vec::new();
    for &format in formats.values() {
        match counts.iter_mut().find(|(known, _)| *known == format) {
            Some((_, count)) => *count += 1,
            None => counts.push((format, 1)),
        }
    }
    let counts = counts
        .iter()
        .map(|(format, count)| format!("{count} layers in {format}"));
    counts.collect::<Vec<_>>().join(", ")
}
