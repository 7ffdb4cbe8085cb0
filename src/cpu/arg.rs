//! Arguments of an op: a rectangle of values, or a checkpoint tensor.

use std::{
    borrow::Cow,
    ops::{Deref, Range},
};

use crate::{
    executor::Cancel,
    tensor::{DType, Shape, Tensor},
};

/// The arguments of an op, and the flag that stops it: what an op gives after a cancel is thrown away.
pub(super) struct Args<'a> {
    args: Vec<Arg<'a>>,
    cancel: Cancel,
}

impl<'a> Args<'a> {
    pub(super) fn new(args: Vec<Arg<'a>>, cancel: &Cancel) -> Self {
        let cancel = cancel.clone();
        Self { args, cancel }
    }

    /// Whether the op should leave the rest of its work undone.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}

impl<'a> Deref for Args<'a> {
    type Target = [Arg<'a>];

    fn deref(&self) -> &Self::Target {
        &self.args
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::{
            attention::attention, conv1d, conv3d::conv3d, elementwise::fill_rows, linear::linear,
        },
        plan::{Attention, Conv1d, Conv3d, MaskBlock, PaddingMode, Scaling},
    };

    /// What an op makes of ones in these shapes.
    fn of_ones(shapes: &[Shape], cancel: &Cancel, op: &dyn Fn(&Args<'_>) -> Vec<f32>) -> Vec<f32> {
        let ones: Vec<Vec<f32>> = shapes
            .iter()
            .map(|shape| vec![1.0; shape.count()])
            .collect();
        let args = shapes.iter().zip(&ones).map(|(shape, ones)| {
            let (rows, cols) = (0..shape.rows(), 0..shape.cols());
            Arg {
                shape,
                dtype: DType::F32,
                source: Source::Values(View::new(ones, shape.cols(), rows, cols)),
            }
        });
        op(&Args::new(args.collect(), cancel))
    }

    #[test]
    fn what_takes_long_is_left_undone_after_a_cancel() {
        let mask = Attention {
            heads: 1,
            kv_heads: 1,
            scale: 1.0,
            softcap: None,
            windows: vec![MaskBlock {
                queries: 0..3,
                keys: vec![0..3],
            }],
        };
        let [clip, samples]: [Shape; 2] = [[1, 3, 3, 4].into(), [3, 4].into()];
        let along = Conv1d {
            stride: 1,
            dilation: 1,
            padding: 0,
        };
        type Op<'a> = Box<dyn Fn(&Args<'_>) -> Vec<f32> + 'a>;
        let ops: [(&str, Vec<Shape>, Op<'_>); 6] = [
            (
                "linear",
                vec![[3, 4].into(), [2, 4].into()],
                Box::new(|args| linear(args, &[3], Scaling::None)),
            ),
            (
                "attention",
                vec![[3, 4].into(); 3],
                Box::new(|args| attention(args, &mask)),
            ),
            (
                "conv3d",
                vec![clip.clone(), [4, 4, 1, 1, 1].into(), [4].into()],
                Box::new(|args| conv3d(args, Conv3d::same([1; 3], 0, 0, PaddingMode::Zero), &clip)),
            ),
            (
                "conv1d",
                vec![samples.clone(), [4, 4, 1].into()],
                Box::new(|args| conv1d::conv1d(args, along, &samples)),
            ),
            (
                "conv_transpose1d",
                vec![samples.clone(), [4, 2, 4].into()],
                Box::new(|args| conv1d::conv_transpose1d(args, 2, &[6, 2].into())),
            ),
            (
                "rows",
                vec![[1].into()],
                Box::new(|args| fill_rows(args, 6, 2, |_, y| y.fill(1.0))),
            ),
        ];
        for (name, shapes, op) in ops {
            let cancel = Cancel::default();
            let done = of_ones(&shapes, &cancel, &op);
            assert!(done.iter().all(|v| *v > 0.0), "{name}: {done:?}");
            cancel.cancel();
            let undone = of_ones(&shapes, &cancel, &op);
            assert_eq!(undone, vec![0.0; done.len()], "{name}");
        }
    }
}
