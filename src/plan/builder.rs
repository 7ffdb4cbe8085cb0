//! Builder: one method per op (in `build_token` and `build_conv`), labels from scopes, shapes checked at once.
//!
//! A wrong shape is a bug of a model function, so the builder panics at that function's line, naming the label.

use std::{collections::HashMap, fmt::Display, ops::Range};

use super::{Buf, Op, Part, Plan, Role, Segment, Spec, Step};
use crate::tensor::{DType, Shape};

/// Emits a plan op by op.
#[derive(Default)]
pub struct Builder {
    plan: Plan,
    scopes: Vec<String>,
    branch: String,
    weights: HashMap<String, Buf>,
    target: Option<Buf>,
}

impl Builder {
    /// An empty plan.
    pub fn new() -> Self {
        Self::default()
    }

    /// The plan of all ops emitted so far.
    pub fn finish(self) -> Plan {
        assert!(
            self.target.is_none(),
            "a destination was named but no op wrote to it"
        );
        self.plan
    }

    /// Labels inside `body` start with `name`.
    pub fn scope<T>(&mut self, name: impl Display, body: impl FnOnce(&mut Self) -> T) -> T {
        self.scopes.push(name.to_string());
        let value = body(self);
        self.scopes.pop();
        value
    }

    /// A scope whose steps are one segment: a layer with its own weights.
    pub fn segment<T>(&mut self, name: impl Display, body: impl FnOnce(&mut Self) -> T) -> T {
        let start = self.plan.steps.len();
        let label = self.weight_label(&name.to_string());
        let value = self.scope(name, body);
        self.plan.segments.push(Segment {
            label,
            steps: start..self.plan.steps.len(),
        });
        value
    }

    /// Labels of results inside `body` start with `name`, those of weights do not: a second pass over the same
    /// weights.
    pub fn branch<T>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.branch, format!("{name}."));
        let value = body(self);
        self.branch = outer;
        value
    }

    /// A buffer the host fills before a run.
    pub fn input(&mut self, label: &str, shape: impl Into<Shape>, dtype: DType) -> Buf {
        self.add_buffer(label.into(), shape.into(), dtype, Role::Input)
    }

    /// A buffer that lives from run to run.
    pub fn state(&mut self, label: &str, shape: impl Into<Shape>, dtype: DType) -> Buf {
        self.add_buffer(label.into(), shape.into(), dtype, Role::State)
    }

    /// The checkpoint tensor `name` of the current scope; the same tensor always has the same handle.
    ///
    /// # Panics
    /// If it was named before with another shape or type.
    #[track_caller]
    pub fn weight(&mut self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Buf {
        let (label, shape) = (self.weight_label(name), shape.into());
        if let Some(&buf) = self.weights.get(&label) {
            let spec = self.plan.spec(buf);
            assert!(
                spec.shape == shape && spec.dtype == dtype,
                "{label} is {} {}, not {dtype} {shape}",
                spec.dtype,
                spec.shape
            );
            return buf;
        }
        let buf = self.add_buffer(label.clone(), shape, dtype, Role::Weight);
        self.weights.insert(label, buf);
        buf
    }

    /// Makes `buf` readable after a run.
    ///
    /// # Panics
    /// If it is not scratch.
    #[track_caller]
    pub fn output(&mut self, buf: Buf) {
        let spec = &mut self.plan.buffers[buf.index()];
        assert!(
            spec.role == Role::Scratch && spec.part.is_none(),
            "{} cannot be an output",
            spec.label
        );
        spec.role = Role::Output;
    }

    /// A buffer that is filled by parts: several ops write [`Builder::rows`] or [`Builder::cols`] of it.
    pub fn assemble(&mut self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Buf {
        let label = self.result_label(name);
        self.add_buffer(label, shape.into(), dtype, Role::Scratch)
    }

    /// The next op writes to `destination` instead of a new buffer.
    pub fn at(&mut self, destination: Buf) -> &mut Self {
        self.target = Some(destination);
        self
    }

    /// Rows `range` of `buf`, seen as `[rows, cols]`.
    #[track_caller]
    pub fn rows(&mut self, buf: Buf, range: Range<usize>) -> Buf {
        let cols = self.spec(buf).shape.cols();
        self.part(buf, [range.len(), cols].into(), range, 0..cols)
    }

    /// Columns `range` of `buf`, seen as `[rows, cols]`.
    #[track_caller]
    pub fn cols(&mut self, buf: Buf, range: Range<usize>) -> Buf {
        let rows = self.spec(buf).shape.rows();
        self.part(buf, [rows, range.len()].into(), 0..rows, range)
    }

    /// Entries `range` of the outermost axis of `buf`: frames of a video, samples of audio.
    #[track_caller]
    pub fn frames(&mut self, buf: Buf, range: Range<usize>) -> Buf {
        let mut extents = self.spec(buf).shape.extents().to_vec();
        let cols = self.spec(buf).shape.cols();
        let per_frame = self.spec(buf).shape.rows() / extents[0];
        extents[0] = range.len();
        self.part(
            buf,
            Shape::new(extents),
            range.start * per_frame..range.end * per_frame,
            0..cols,
        )
    }

    /// Label, shape and type of `buf`.
    pub fn spec(&self, buf: Buf) -> &Spec {
        self.plan.spec(buf)
    }

    /// Extents of `buf`.
    pub fn shape(&self, buf: Buf) -> &Shape {
        &self.spec(buf).shape
    }

    #[track_caller]
    fn part(&mut self, buf: Buf, shape: Shape, rows: Range<usize>, cols: Range<usize>) -> Buf {
        let spec = self.spec(buf).clone();
        let fits = rows.end <= spec.shape.rows() && cols.end <= spec.shape.cols();
        assert!(
            fits && rows.start <= rows.end && cols.start <= cols.end,
            "rows {rows:?}, columns {cols:?} of {} {}",
            spec.label,
            spec.shape
        );
        let base = spec.part.unwrap_or(Part {
            of: buf,
            rows: 0..spec.shape.rows(),
            cols: 0..spec.shape.cols(),
        });
        let shift = |range: Range<usize>, by: usize| range.start + by..range.end + by;
        let label = format!(
            "{}[{}..{}, {}..{}]",
            spec.label, rows.start, rows.end, cols.start, cols.end
        );
        let part = Part {
            of: base.of,
            rows: shift(rows, base.rows.start),
            cols: shift(cols, base.cols.start),
        };
        let handle = self.add_buffer(label, shape, spec.dtype, spec.role);
        self.plan.buffers[handle.index()].part = Some(part);
        handle
    }

    /// Appends a step that writes `[shape]` to a buffer called `name`, or to the destination set by `at`.
    #[track_caller]
    pub(super) fn emit(
        &mut self,
        name: &str,
        op: Op,
        reads: Vec<Buf>,
        shape: Shape,
        dtype: DType,
    ) -> Buf {
        let writes = match self.target.take() {
            Some(destination) => {
                let spec = self.spec(destination);
                let fits = spec.shape.rows() == shape.rows() && spec.shape.cols() == shape.cols();
                assert!(
                    fits,
                    "{} {} cannot hold {name} {shape}",
                    spec.label, spec.shape
                );
                destination
            }
            None => {
                let label = self.result_label(name);
                self.add_buffer(label, shape, dtype, Role::Scratch)
            }
        };
        self.plan.steps.push(Step { op, reads, writes });
        writes
    }

    fn add_buffer(&mut self, label: String, shape: Shape, dtype: DType, role: Role) -> Buf {
        let buf =
            Buf(u32::try_from(self.plan.buffers.len()).expect("a plan has far fewer buffers"));
        self.plan.buffers.push(Spec {
            label,
            shape,
            dtype,
            role,
            part: None,
        });
        buf
    }

    fn weight_label(&self, name: &str) -> String {
        let mut label = self.scopes.join(".");
        if !label.is_empty() && !name.is_empty() {
            label.push('.');
        }
        label + name
    }

    fn result_label(&self, name: &str) -> String {
        format!("{}{}", self.branch, self.weight_label(name))
    }
}
