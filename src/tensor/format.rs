//! Number formats of linear layers.

use std::{collections::BTreeMap, fmt};

use super::Shape;

/// Format of a linear layer: how its weight is stored, and the type of both operands of its matmul.
///
/// Code that supports only some formats matches on all of them, so a new variant does not compile until each place
/// handles or refuses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// bf16, as the reference computes.
    Bf16,
    /// FP8 E4M3; the weight has scales of this granularity.
    Fp8(Granularity),
}

/// Which elements of a quantised weight share a scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granularity {
    /// Those of an output row.
    Row,
}

/// Formats by layer, named by what precedes `.weight`; a layer that is not listed is [`Format::Bf16`].
pub type LayerFormats = BTreeMap<String, Format>;

impl Format {
    /// What `fp8` means in a policy, and what packed checkpoints hold.
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
    /// Shape of the f32 scales of a weight `[rows, cols]`: `[1, rows]`.
    pub fn scales(self, weight: &Shape) -> Shape {
        match self {
            Self::Row => [1, weight.rows()].into(),
        }
    }
}

/// How many layers have which format, such as `12 layers in FP8`.
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
