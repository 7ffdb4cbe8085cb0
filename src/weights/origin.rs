//! Where the values of a tensor come from, for devices that would rather make or round them than be sent them.

use super::rules::Rule;
use crate::Tensor;

/// Where the values of a tensor come from.
pub enum Origin {
    /// A file, or memory: the tensor as stored.
    Stored(Tensor),
    /// A rule: element `i` is [`Rule::value`] of this key and `i`, rounded to the rule's type.
    Rule(u64, Rule),
    /// It is rounded as it is loaded: `X.weight` or `X.weight_scale` of a quantised layer, from the weight of this
    /// origin, which is bf16, or f32 to be rounded to bf16 first. Nobody has looked for NaN and infinity in that.
    Quantized(Box<Self>),
}
