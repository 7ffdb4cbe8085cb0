//! Tensor maps for TMA: sizes, strides, the box that one copy moves, the swizzle.

use crate::{Error, Result};

/// An encoded map: 128 opaque bytes, which only the device that encoded them understands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(128))]
pub struct TensorMap(pub [u8; 128]);

/// Type of a tensor's elements, as far as TMA distinguishes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    /// Any 8-bit type.
    Byte,
    /// bf16.
    Bf16,
    /// f32.
    F32,
}

impl Element {
    /// Its size in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// How a box's rows are permuted in shared memory, so that reading columns has no bank conflicts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swizzle {
    /// Not at all.
    None,
    /// Within 32 bytes.
    Bytes32,
    /// Within 64 bytes.
    Bytes64,
    /// Within 128 bytes.
    Bytes128,
}

impl Swizzle {
    /// The most bytes of a box's rows.
    fn span_bytes(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Bytes32 => Some(32),
            Self::Bytes64 => Some(64),
            Self::Bytes128 => Some(128),
        }
    }
}

/// A tensor and the box that one TMA copy moves; all lists are outermost first, as shapes are. Elements of a box outside
/// the tensor are read as zero and not written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorMapSpec {
    /// Address of the first element.
    pub address: u64,
    /// Type of the elements.
    pub element: Element,
    /// Sizes of the tensor, in elements: 1 to 5 axes.
    pub sizes: Vec<u64>,
    /// Bytes from one index to the next of every axis but the last, whose elements are contiguous.
    pub strides_bytes: Vec<u64>,
    /// Sizes of the box, in elements.
    pub box_sizes: Vec<u32>,
    /// Layout of the box in shared memory.
    pub swizzle: Swizzle,
}

impl TensorMapSpec {
    /// A matrix whose rows are `pitch` elements apart.
    pub fn matrix(
        address: u64,
        element: Element,
        sizes: [u64; 2],
        pitch: u64,
        box_sizes: [u32; 2],
    ) -> Self {
        Self {
            address,
            element,
            sizes: sizes.into(),
            strides_bytes: vec![pitch.saturating_mul(element.bytes())],
            box_sizes: box_sizes.into(),
            swizzle: Swizzle::Bytes128,
        }
    }

    /// Checks the rules of `cuTensorMapEncodeTiled`, so that a refusal has a reason.
    ///
    /// # Errors
    /// [`Error::Device`] with the rule and the value that breaks it.
    pub fn check(&self) -> Result<()> {
        self.problem().map_or(Ok(()), |problem| {
            Err(Error::device(format!("no tensor map: {problem}")))
        })
    }

    fn problem(&self) -> Option<String> {
        let rank = self.sizes.len();
        if !(1..=5).contains(&rank)
            || self.box_sizes.len() != rank
            || self.strides_bytes.len() + 1 != rank
        {
            return Some(format!(
                "{rank} sizes, {} box sizes and {} strides; there are 1 to 5 axes, and a stride for all but the last",
                self.box_sizes.len(),
                self.strides_bytes.len()
            ));
        }
        if !self.address.is_multiple_of(16) {
            return Some(format!(
                "address {:#x} must be a multiple of 16",
                self.address
            ));
        }
        if let Some(size) = self.sizes.iter().find(|&&size| size == 0 || size > 1 << 32) {
            return Some(format!("size {size} must be 1 to 2^32"));
        }
        let bad = |stride: &&u64| !stride.is_multiple_of(16) || **stride >= 1 << 40;
        if let Some(stride) = self.strides_bytes.iter().find(bad) {
            return Some(format!(
                "stride {stride} must be a multiple of 16 bytes below 2^40"
            ));
        }
        let mut sides = self.box_sizes.iter();
        if let Some(side) = sides.find(|side| !(1..=256).contains(*side)) {
            return Some(format!("box side {side} must be 1 to 256"));
        }
        let row_bytes = u64::from(self.box_sizes[rank - 1]) * self.element.bytes();
        if !row_bytes.is_multiple_of(16) {
            return Some(format!(
                "box rows of {row_bytes} bytes must be a multiple of 16"
            ));
        }
        let span = self.swizzle.span_bytes().filter(|&span| row_bytes > span)?;
        Some(format!(
            "box rows of {row_bytes} bytes are wider than the swizzle's {span}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hardware_cannot_do_is_refused_with_the_rule() {
        let good = TensorMapSpec::matrix(256, Element::Bf16, [300, 13652], 13696, [128, 64]);
        assert!(good.check().is_ok());
        assert_eq!(good.strides_bytes, [27392]);
        let bad = |change: &dyn Fn(&mut TensorMapSpec), words: &str| {
            let mut spec = good.clone();
            change(&mut spec);
            let why = spec.check().unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        };
        bad(&|s| s.address = 8, "address 0x8");
        bad(&|s| s.sizes[0] = 0, "size 0");
        bad(&|s| s.sizes[1] = (1 << 32) + 1, "2^32");
        bad(&|s| s.strides_bytes[0] = 13652 * 2, "stride 27304");
        bad(&|s| s.strides_bytes[0] = 1 << 40, "2^40");
        bad(&|s| s.box_sizes[0] = 257, "box side 257");
        bad(&|s| s.box_sizes[1] = 4, "rows of 8 bytes");
        bad(&|s| s.box_sizes[1] = 72, "wider than the swizzle's 128");
        bad(&|s| s.strides_bytes.clear(), "0 strides");
        bad(&|s| s.box_sizes.clear(), "0 box sizes");
        bad(
            &|s| {
                *s = TensorMapSpec {
                    sizes: vec![1; 6],
                    box_sizes: vec![16; 6],
                    strides_bytes: vec![16; 5],
                    ..s.clone()
                }
            },
            "6 sizes",
        );
        let plain = TensorMapSpec {
            swizzle: Swizzle::None,
            box_sizes: vec![8, 256],
            ..good.clone()
        };
        assert!(
            plain.check().is_ok(),
            "without a swizzle a row may be longer"
        );
        assert_eq!(
            (size_of::<TensorMap>(), align_of::<TensorMap>()),
            (128, 128)
        );
    }
}
