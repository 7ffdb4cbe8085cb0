//! Buffers of a plan: a handle, and what lives behind it.

use std::ops::Range;

use crate::tensor::{DType, Shape};

/// Handle of a buffer in one plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Buf(pub(crate) u32);

impl Buf {
    /// Position in [`super::Plan::buffers`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What fills a buffer, and how long it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Written by the host before a run; kept between runs.
    Input,
    /// Read from a checkpoint under the buffer's label.
    Weight,
    /// Lives from run to run: latents, sampler history. Initially zero; the host may write it.
    State,
    /// Lives from its first write to its last read within a run.
    Scratch,
    /// Written by the plan and readable after a run.
    Output,
}

/// A rectangle of another buffer, seen as `[rows, cols]` with `cols` its last axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The whole buffer; never a part itself.
    pub of: Buf,
    /// Rows taken; rows are counted over all axes but the last.
    pub rows: Range<usize>,
    /// Columns taken.
    pub cols: Range<usize>,
}

/// What lives in a buffer, and for how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// The checkpoint's own name where it has one: `block.layers.3.attention.q_norm`.
    pub label: String,
    /// Extents, outermost first.
    pub shape: Shape,
    /// Element type; rounding happens at the store, and only there.
    pub dtype: DType,
    /// What fills it, and how long it lives.
    pub role: Role,
    /// Set when the buffer is a rectangle of another one.
    pub part: Option<Part>,
}

impl Spec {
    /// Elements from one row to the next: the columns rounded up to 16 bytes and to 8 elements, so that 16-byte
    /// loads and tensor-map strides work on every row.
    pub fn pitch(&self) -> usize {
        let elements = (16 / self.dtype.size()).max(8);
        self.shape.cols().next_multiple_of(elements)
    }

    /// Bytes of the buffer at its pitch.
    pub fn bytes(&self) -> usize {
        self.shape.rows() * self.pitch() * self.dtype.size()
    }
}

/// The label of `leaf` below `name`.
pub(super) fn dotted(name: &str, leaf: &str) -> String {
    if name.is_empty() {
        leaf.into()
    } else {
        format!("{name}.{leaf}")
    }
}
