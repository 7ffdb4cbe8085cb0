//! Tensor: owned or mapped bytes with a shape and an element type.

use std::{borrow::Cow, fmt, ops::Range, sync::Arc};

use half::{bf16, f16, vec::HalfFloatVecExt};

use super::{
    DType, Shape,
    dtype::{e4m3_from_f32, e4m3_to_f32},
};

/// Where a tensor's bytes live. Cloning shares them.
#[derive(Clone)]
pub enum Bytes {
    /// In memory; a vector of words, so that every element type is aligned.
    Owned(Arc<Vec<u64>>),
    /// In a mapped file or another shared owner, at this byte range; as aligned as the file is.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>, Range<usize>),
}

/// A host tensor: row-major, contiguous, outermost axis first. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    bytes: Bytes,
}

impl Tensor {
    /// A tensor of f32 values.
    ///
    /// # Panics
    /// If `values` has another count than `shape`.
    pub fn from_f32(shape: impl Into<Shape>, values: &[f32]) -> Self {
        Self::from_bytes(shape, DType::F32, bytemuck::cast_slice(values))
    }

    /// A tensor of i32 values.
    ///
    /// # Panics
    /// If `values` has another count than `shape`.
    pub fn from_i32(shape: impl Into<Shape>, values: &[i32]) -> Self {
        Self::from_bytes(shape, DType::I32, bytemuck::cast_slice(values))
    }

    /// A tensor of bytes.
    ///
    /// # Panics
    /// If `values` has another count than `shape`.
    pub fn from_u8(shape: impl Into<Shape>, values: &[u8]) -> Self {
        Self::from_bytes(shape, DType::U8, values)
    }

    /// A tensor that copies `bytes`, little-endian elements of `dtype`.
    ///
    /// # Panics
    /// If the number of bytes is not `shape.count() * dtype.size()`.
    pub fn from_bytes(shape: impl Into<Shape>, dtype: DType, bytes: &[u8]) -> Self {
        let shape = shape.into();
        assert_eq!(
            bytes.len(),
            shape.count() * dtype.size(),
            "bytes of a {dtype} tensor {shape}"
        );
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self::from_words(shape, dtype, words)
    }

    /// A tensor that takes over `words`: little-endian elements of `dtype`; padding in the last word is ignored.
    ///
    /// # Panics
    /// If the elements do not fill exactly that many words.
    pub fn from_words(shape: impl Into<Shape>, dtype: DType, words: Vec<u64>) -> Self {
        let shape = shape.into();
        let want = (shape.count() * dtype.size()).div_ceil(8);
        assert_eq!(words.len(), want, "words of a {dtype} tensor {shape}");
        Self {
            shape,
            dtype,
            bytes: Bytes::Owned(Arc::new(words)),
        }
    }

    /// A tensor over `range` of a shared owner, such as a mapped file.
    ///
    /// # Panics
    /// If the range is not `shape.count() * dtype.size()` bytes long or leaves the owner.
    pub fn shared(
        shape: Shape,
        dtype: DType,
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
    ) -> Self {
        assert_eq!(
            range.len(),
            shape.count() * dtype.size(),
            "bytes of a {dtype} tensor {shape}"
        );
        assert!(
            range.end <= (*owner).as_ref().len(),
            "range {range:?} leaves its owner"
        );
        Self {
            shape,
            dtype,
            bytes: Bytes::Shared(owner, range),
        }
    }

    /// All zeros.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Self {
        let shape = shape.into();
        let words = (shape.count() * dtype.size()).div_ceil(8);
        Self::from_words(shape, dtype, vec![0; words])
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.count()
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        let count = self.count() * self.dtype.size();
        match &self.bytes {
            Bytes::Owned(words) => &bytemuck::cast_slice(words)[..count],
            Bytes::Shared(owner, range) => &(**owner).as_ref()[range.clone()],
        }
    }

    /// Bytes of heap memory that it keeps alive, shared or not; 0 for mapped files.
    pub fn owned_bytes(&self) -> u64 {
        match &self.bytes {
            Bytes::Owned(words) => 8 * words.len() as u64,
            Bytes::Shared(..) => 0,
        }
    }

    /// The same elements under another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[must_use]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert_eq!(
            shape.count(),
            self.count(),
            "reshape {} to {shape}",
            self.shape
        );
        Self {
            shape,
            dtype: self.dtype,
            bytes: self.bytes.clone(),
        }
    }

    /// All elements as f32: borrowed if they are aligned f32, else converted exactly.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        if self.dtype == DType::F32
            && let Ok(values) = bytemuck::try_cast_slice(self.bytes())
        {
            return Cow::Borrowed(values);
        }
        let mut values = vec![0.0; self.count()];
        self.read_f32(0..self.count(), &mut values);
        Cow::Owned(values)
    }

    /// Converts elements `range` (row-major index) to f32 in `out`; mapped files need no alignment.
    ///
    /// # Panics
    /// If `range` leaves the tensor or `out` has another length.
    pub fn read_f32(&self, range: Range<usize>, out: &mut [f32]) {
        assert_eq!(range.len(), out.len(), "length of the destination");
        let size = self.dtype.size();
        let bytes = &self.bytes()[range.start * size..range.end * size];
        match self.dtype {
            DType::F32 => convert(bytes, out, f32::from_le_bytes),
            DType::Bf16 => convert(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            DType::F16 => convert(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            DType::E4m3 => convert(bytes, out, |[b]| e4m3_to_f32(b)),
            DType::U8 => convert(bytes, out, |[b]| f32::from(b)),
            DType::I16 => convert(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
            DType::I32 => convert(bytes, out, |b| i32::from_le_bytes(b) as f32),
        }
    }

    /// All elements of an i32 tensor.
    ///
    /// # Panics
    /// If the tensor is of another type.
    pub fn to_i32(&self) -> Vec<i32> {
        assert_eq!(self.dtype, DType::I32, "to_i32 of a {} tensor", self.dtype);
        self.bytes()
            .as_chunks()
            .0
            .iter()
            .map(|&b| i32::from_le_bytes(b))
            .collect()
    }

    /// The same values as another floating-point type, rounded to nearest, ties to even.
    ///
    /// # Panics
    /// If `dtype` is an integer type.
    #[must_use]
    pub fn cast(&self, dtype: DType) -> Self {
        if dtype == self.dtype {
            return self.clone();
        }
        let (shape, values) = (self.shape.clone(), self.to_f32());
        match dtype {
            DType::F32 => Self::from_f32(shape, &values),
            DType::Bf16 => {
                let halves = Vec::<bf16>::from_f32_slice(&values);
                Self::from_bytes(shape, dtype, bytemuck::cast_slice(&halves))
            }
            DType::F16 => {
                let halves = Vec::<f16>::from_f32_slice(&values);
                Self::from_bytes(shape, dtype, bytemuck::cast_slice(&halves))
            }
            DType::E4m3 => {
                let bytes: Vec<u8> = values.iter().map(|&v| e4m3_from_f32(v)).collect();
                Self::from_bytes(shape, dtype, &bytes)
            }
            DType::U8 | DType::I16 | DType::I32 => panic!("cast to the integer type {dtype}"),
        }
    }
}

fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], from: impl Fn([u8; N]) -> f32) {
    let (chunks, rest) = bytes.as_chunks::<N>();
    debug_assert!(rest.is_empty(), "element bytes");
    for (value, &chunk) in out.iter_mut().zip(chunks) {
        *value = from(chunk);
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor {} {}", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casting_rounds_to_nearest_even_and_back_is_exact() {
        let x = Tensor::from_f32([3], &[1.0, 1.003_906_3, -2.5]);
        let y = x.cast(DType::Bf16);
        assert_eq!(y.to_f32().as_ref(), &[1.0, 1.0, -2.5]);
        assert_eq!(y.bytes().len(), 6);
    }

    #[test]
    fn every_half_survives_f32_and_rounds_as_its_scalar_does() {
        let patterns: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [DType::Bf16, DType::F16] {
            let halves = Tensor::from_bytes([1 << 16], dtype, &patterns);
            let wide = halves.to_f32();
            let back = halves.cast(DType::F32).cast(dtype);
            let after = back.bytes().as_chunks::<2>().0;
            let pairs = patterns.as_chunks::<2>().0.iter().zip(after);
            for ((&before, &after), wide) in pairs.zip(wide.iter()) {
                let scalar = if dtype == DType::Bf16 {
                    bf16::from_f32(*wide).to_le_bytes()
                } else {
                    f16::from_f32(*wide).to_le_bytes()
                };
                assert_eq!(after, scalar, "{dtype} {before:?}");
                assert!(wide.is_nan() || after == before, "{dtype} {before:?}");
            }
            // Values between two halves, ties among them, against the scalar rounding.
            let between: Vec<f32> = wide.windows(2).map(|w| (w[0] + w[1]) / 2.0).collect();
            let rounded = Tensor::from_f32([between.len()], &between).cast(dtype);
            for (got, v) in rounded.to_f32().iter().zip(&between) {
                assert_eq!(got.to_bits(), dtype.round(*v).to_bits(), "{dtype} of {v}");
            }
        }
    }

    #[test]
    fn shared_bytes_are_read_at_any_alignment() {
        let mut bytes = vec![0_u8];
        bytes.extend([1.5_f32, -3.0].iter().flat_map(|v| v.to_le_bytes()));
        let x = Tensor::shared(Shape::from([2]), DType::F32, Arc::new(bytes), 1..9);
        assert_eq!(x.to_f32().as_ref(), &[1.5, -3.0]);
    }

    #[test]
    fn overflowing_shapes_are_refused() {
        assert!(Shape::checked(&[1 << 40, 1 << 40]).is_none());
        assert!(Shape::checked(&[3, 0, 5]).is_some());
    }
}
