//! The origin of a tensor's values: a device may generate or round them itself instead of receiving them.

use super::rules::Rule;
use crate::Tensor;

/// Origin of a tensor's values.
pub enum Origin {
    /// Stored in a file or in memory.
    Stored(Tensor),
    /// Generated: element `i` is [`Rule::value`] of this key and `i`, rounded to the rule's type.
    Rule(u64, Rule),
    /// Rounded on loading: `X.weight` or `X.weight_scale` of a quantised layer, from the unquantised weight of this
    /// origin, which is bf16, or f32 to be rounded to bf16 first. It has not been checked for NaN and infinity.
    Quantized(Box<Self>),
}
