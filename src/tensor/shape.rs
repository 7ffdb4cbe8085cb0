//! Shapes, outermost axis first.

use std::fmt;

/// Extents of a tensor, outermost first. The product always fits `usize`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A shape from trusted extents.
    ///
    /// # Panics
    /// If the number of elements overflows; use [`Shape::checked`] for extents from a file.
    pub fn new(extents: impl Into<Vec<usize>>) -> Self {
        let extents = extents.into();
        Self::checked(&extents)
            .unwrap_or_else(|| panic!("{extents:?} has more elements than memory has addresses"))
    }

    /// A shape from untrusted extents; `None` if the number of elements overflows.
    pub fn checked(extents: &[usize]) -> Option<Self> {
        // 16 bytes an element leaves room for every later `count * size`.
        let bytes = extents
            .iter()
            .try_fold(16_usize, |product, &n| product.checked_mul(n));
        bytes.map(|_| Self(extents.to_vec()))
    }

    /// Number of elements; 1 for a scalar.
    pub fn count(&self) -> usize {
        self.0.iter().product()
    }

    /// The extents.
    pub fn extents(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Extent of the last axis; 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last.
    pub fn rows(&self) -> usize {
        self.0[..self.0.len().saturating_sub(1)].iter().product()
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = usize;

    fn index(&self, axis: usize) -> &usize {
        &self.0[axis]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Self::new(extents)
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Self {
        Self::new(extents)
    }
}
