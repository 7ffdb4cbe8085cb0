//! Arguments of an op: a rectangle of values, or a checkpoint tensor.

use std::{borrow::Cow, ops::Range};

use crate::tensor::{DType, Shape, Tensor};

/// A rectangle of f32 values.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    pitch: usize,
}

impl<'a> View<'a> {
    /// `rows` x `cols` of `whole` (rows of `pitch` values), starting at row `first_row`, column `first_col`.
    pub(super) fn new(
        whole: &'a [f32],
        pitch: usize,
        rows: Range<usize>,
        cols: Range<usize>,
    ) -> Self {
        let start = (rows.start * pitch + cols.start).min(whole.len());
        Self {
            values: &whole[start..],
            rows: rows.len(),
            cols: cols.len(),
            pitch,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Distance between rows.
    pub(super) fn pitch(&self) -> usize {
        self.pitch
    }

    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        let start = row * self.pitch;
        &self.values[start..start + self.cols]
    }

    /// Rows `range` of this view.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let start = (range.start * self.pitch).min(self.values.len());
        Self {
            values: &self.values[start..],
            rows: range.len(),
            ..*self
        }
    }

    /// Columns `range` of this view.
    pub(super) fn columns(&self, range: Range<usize>) -> Self {
        let start = range.start.min(self.values.len());
        Self {
            values: &self.values[start..],
            cols: range.len(),
            ..*self
        }
    }

    /// The values from the first on, rows `pitch` apart: the operand of a matmul.
    pub(super) fn strided(&self) -> &'a [f32] {
        self.values
    }

    /// All values, row after row.
    pub(super) fn dense(&self) -> Cow<'a, [f32]> {
        if self.pitch == self.cols || self.rows <= 1 {
            return Cow::Borrowed(&self.values[..self.rows * self.cols]);
        }
        Cow::Owned(
            (0..self.rows)
                .flat_map(|row| self.row(row).iter().copied())
                .collect(),
        )
    }
}

/// An argument of an op.
pub(super) enum Source<'a> {
    Values(View<'a>),
    Weight(&'a Tensor),
}

/// An argument with its declared shape and type.
pub(super) struct Arg<'a> {
    pub(super) shape: &'a Shape,
    pub(super) dtype: DType,
    pub(super) source: Source<'a>,
}

impl<'a> Arg<'a> {
    /// The values of an activation.
    ///
    /// # Panics
    /// If it is a weight.
    pub(super) fn view(&self) -> View<'a> {
        match self.source {
            Source::Values(view) => view,
            Source::Weight(_) => panic!("an activation is read here, not a weight"),
        }
    }

    /// All values, row after row; those of a weight rounded to the type it is used in.
    pub(super) fn values(&self) -> Cow<'a, [f32]> {
        match self.source {
            Source::Values(view) => view.dense(),
            Source::Weight(tensor) if tensor.dtype() == self.dtype => tensor.to_f32(),
            Source::Weight(tensor) => {
                let mut values = tensor.to_f32().into_owned();
                values.iter_mut().for_each(|v| *v = self.dtype.round(*v));
                Cow::Owned(values)
            }
        }
    }

    /// Rows `range` of [`Arg::values`]; a row is as long as the last axis.
    pub(super) fn read_rows(&self, range: Range<usize>, out: &mut [f32]) {
        let cols = self.shape.cols();
        match self.source {
            Source::Values(view) => {
                for (row, out) in range.zip(out.chunks_exact_mut(cols)) {
                    out.copy_from_slice(view.row(row));
                }
            }
            Source::Weight(tensor) => {
                tensor.read_f32(range.start * cols..range.end * cols, out);
                if tensor.dtype() != self.dtype {
                    out.iter_mut().for_each(|v| *v = self.dtype.round(*v));
                }
            }
        }
    }
}
