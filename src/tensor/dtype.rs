//! Element types and their rounding.

use std::fmt;

use half::{bf16, f16};

/// Element type of a tensor or buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of an f32: 8 bits of exponent, 8 of significand.
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// Unsigned byte.
    U8,
    /// Signed 16-bit integer: sound samples.
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
            Self::U8 => 1,
        }
    }

    /// Whether storing an f32 in a buffer of this type may change it.
    pub const fn rounds(self) -> bool {
        matches!(self, Self::Bf16 | Self::F16)
    }

    /// `value` as a buffer of this type holds it: rounded to nearest, ties to even. Integer types keep the
    /// value, since every id and count we store is exact in f32.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::Bf16 => round_bf16(value),
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::F32 | Self::U8 | Self::I16 | Self::I32 => value,
        }
    }
}

/// `value` rounded to bf16, nearest-even, as f32. NaN stays NaN.
#[inline]
pub fn round_bf16(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::I32 => "i32",
        })
    }
}
