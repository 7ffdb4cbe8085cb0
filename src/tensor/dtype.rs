//! Element types and their rounding.

use std::fmt;

use half::{bf16, f16};

/// Element type of a tensor or buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of an f32: 8 bits of exponent, 8 bits of significand (one of them implicit).
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// FP8 E4M3: 4 bits of exponent, 4 of significand (one of them implicit), at most [`E4M3_MAX`], no infinity, NaN
    /// where all bits but the sign are ones.
    E4m3,
    /// Unsigned byte.
    U8,
    /// Signed 16-bit integer: audio samples.
    I16,
    /// Signed 32-bit integer: token ids, indices.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::Bf16 | Self::F16 | Self::I16 => 2,
            Self::U8 | Self::E4m3 => 1,
        }
    }

    /// Whether a buffer of this type may hold another value than the f32 stored in it.
    pub const fn rounds(self) -> bool {
        matches!(self, Self::Bf16 | Self::F16 | Self::E4m3)
    }

    /// The f32 that a buffer of this type holds after storing `value`: rounded to nearest, ties to even; E4M3
    /// saturates. Integer types keep the value, since every id and count that is stored is exact in f32.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::Bf16 => round_bf16(value),
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::E4m3 => e4m3_to_f32(e4m3_from_f32(value)),
            Self::F32 | Self::U8 | Self::I16 | Self::I32 => value,
        }
    }
}

/// `value` rounded to bf16, to nearest, ties to even, as f32. NaN stays NaN.
#[inline]
pub fn round_bf16(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

/// The largest E4M3 value.
pub const E4M3_MAX: f32 = 448.0;

/// Bits of the E4M3 value nearest to `value`, ties to even; saturates at [`E4M3_MAX`]. NaN stays NaN.
#[inline]
pub fn e4m3_from_f32(value: f32) -> u8 {
    /// Significand bits that E4M3 lacks against f32.
    const DROPPED: u32 = 20;
    /// The smallest normal E4M3 value; below it values are multiples of 2^-9.
    const NORMAL_MIN: f32 = 1.0 / 64.0;
    /// Difference of the exponent biases, shifted to E4M3's exponent field.
    const BIAS: u32 = (127 - 7) << 3;
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    if value.is_nan() {
        return sign | 0x7f;
    }
    let size = value.abs().min(E4M3_MAX);
    if size < NORMAL_MIN {
        return sign | (size * 512.0).round_ties_even() as u8;
    }
    let bits = size.to_bits();
    let is_odd = bits >> DROPPED & 1;
    let rounded = (bits + (1 << (DROPPED - 1)) - 1 + is_odd) >> DROPPED;
    sign | (rounded - BIAS) as u8
}

/// The scale of a row for E4M3: `max |v| / 448`, or 1 if all values are zero. Dividing by it uses the whole range.
pub fn e4m3_scale(values: &[f32]) -> f32 {
    match values.iter().fold(0.0_f32, |max, v| max.max(v.abs())) {
        0.0 => 1.0,
        largest => largest / E4M3_MAX,
    }
}

/// The value of the E4M3 `bits`.
#[inline]
pub fn e4m3_to_f32(bits: u8) -> f32 {
    let (exponent, significand) = (u32::from(bits >> 3 & 15), u32::from(bits & 7));
    let size = match (exponent, significand) {
        (15, 7) => f32::NAN,
        (0, _) => significand as f32 / 512.0,
        _ => f32::from_bits((exponent + 120) << 23 | significand << 20),
    };
    if bits & 0x80 == 0 { size } else { -size }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::E4m3 => "e4m3",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::I32 => "i32",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All E4M3 values of one sign but NaN, ascending, from the definition.
    fn numbers() -> Vec<f32> {
        let subnormal = (0..8_i16).map(|m| f32::from(m) / 512.0);
        let normal =
            (1..16).flat_map(|e| (0..8).map(move |m| (1.0 + m as f32 / 8.0) * 2.0_f32.powi(e - 7)));
        subnormal.chain(normal).take(127).collect()
    }

    #[test]
    fn e4m3_holds_the_numbers_of_its_definition() {
        assert_eq!(numbers().last(), Some(&E4M3_MAX));
        for (bits, number) in (0..).zip(numbers()) {
            for (bits, number) in [(bits, number), (bits | 0x80, -number)] {
                assert_eq!(e4m3_to_f32(bits).to_bits(), number.to_bits(), "{bits:#x}");
                assert_eq!(e4m3_from_f32(number), bits, "{number}");
            }
        }
        assert!(e4m3_to_f32(0x7f).is_nan() && e4m3_to_f32(0xff).is_nan());
        assert!(DType::E4m3.round(f32::NAN).is_nan());
    }

    #[test]
    fn e4m3_rounds_to_the_nearest_and_ties_to_even() {
        for (low, pair) in (0_u8..).zip(numbers().windows(2)) {
            let middle = f32::midpoint(pair[0], pair[1]);
            let even = low + low % 2;
            for sign in [1.0, -1.0] {
                let bits = |size: f32| e4m3_from_f32(sign * size) & 0x7f;
                assert_eq!(bits(middle), even, "{middle}");
                assert_eq!(bits(middle.next_down()), low, "below {middle}");
                assert_eq!(bits(middle.next_up()), low + 1, "above {middle}");
            }
        }
        for beyond in [449.0, 464.0, 1e30, f32::INFINITY] {
            assert_eq!(DType::E4m3.round(-beyond), -E4M3_MAX);
        }
    }
}
