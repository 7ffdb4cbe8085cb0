//! The finished plan and the plans made from it.

use std::ops::Range;

use super::{Buf, Role, Spec, buffer::dotted};
use crate::{
    plan::Op,
    tensor::{DType, Shape},
};

/// One op with the buffers it reads, in the order of [`Op`]'s description, and the one it writes.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is computed.
    pub op: Op,
    /// Arguments.
    pub reads: Vec<Buf>,
    /// Result.
    pub writes: Buf,
}

/// Consecutive steps with their own weights: a layer. The unit of weight streaming.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its scope: `block.layers.3`.
    pub label: String,
    /// Its steps.
    pub steps: Range<usize>,
}

/// A list of ops over named, typed buffers.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) buffers: Vec<Spec>,
    pub(super) steps: Vec<Step>,
    pub(super) segments: Vec<Segment>,
}

impl Plan {
    /// All buffers; [`Buf::index`] is the position.
    pub fn buffers(&self) -> &[Spec] {
        &self.buffers
    }

    /// All steps in the order they run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Segments, in order; steps outside of any lie between them.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Index of the segment that holds step `index`, if any.
    pub fn segment_of(&self, index: usize) -> Option<usize> {
        self.segments
            .iter()
            .position(|segment| segment.steps.contains(&index))
    }

    /// Label, shape and type of `buf`.
    pub fn spec(&self, buf: Buf) -> &Spec {
        &self.buffers[buf.index()]
    }

    /// [`Plan::spec`] of a buffer that the host is about to write with a tensor of `shape`.
    ///
    /// # Panics
    /// If `buf` is not an input or state, or has another number of elements.
    pub fn written_by_host(&self, buf: Buf, shape: &Shape) -> &Spec {
        let spec = self.spec(buf);
        let label = &spec.label;
        assert!(
            matches!(spec.role, Role::Input | Role::State) && spec.part.is_none(),
            "{label} is not for the host to write"
        );
        let is_full = shape.count() == spec.shape.count();
        assert!(is_full, "{label}: {shape} given for {}", spec.shape);
        spec
    }

    /// The buffer whose storage `buf` uses: itself, or the whole it is a part of.
    pub fn root(&self, buf: Buf) -> Buf {
        self.spec(buf).part.as_ref().map_or(buf, |part| part.of)
    }

    /// The buffer of this label, if there is one.
    pub fn find(&self, label: &str) -> Option<Buf> {
        self.handles().find(|&buf| self.spec(buf).label == label)
    }

    /// Handles of all buffers.
    pub fn handles(&self) -> impl Iterator<Item = Buf> + use<> {
        (0..self.buffers.len())
            .map(|i| Buf(u32::try_from(i).expect("a plan has far fewer buffers")))
    }

    /// Handles of all weights, in the order they were first named.
    pub fn weights(&self) -> impl Iterator<Item = Buf> + '_ {
        self.handles()
            .filter(|&buf| self.spec(buf).role == Role::Weight)
    }

    /// The plan without rounding of activations: every float buffer except weights is f32. Run on the CPU beside the
    /// original it shows what rounding costs, so no tolerance needs to be written by hand.
    #[must_use]
    pub fn in_f32(&self) -> Self {
        let mut plan = self.clone();
        for spec in &mut plan.buffers {
            if spec.role != Role::Weight && spec.dtype.rounds() {
                spec.dtype = DType::F32;
            }
        }
        plan
    }

    /// The plan with a last step ([`Op::Bytes`]) that converts `video` `[T, H, W, C]` to bytes `[T, H, W C]`, which
    /// become the output in its place.
    ///
    /// # Panics
    /// If `video` does not have four axes.
    #[must_use]
    pub fn in_bytes(&self, video: Buf) -> (Self, Buf) {
        let mut plan = self.clone();
        let spec = self.spec(video);
        if spec.role == Role::Output {
            plan.buffers[video.index()].role = Role::Scratch;
        }
        let [frames, height, width, channels] = *spec.shape.extents() else {
            panic!("{} {} is no video", spec.label, spec.shape);
        };
        let bytes = Buf(u32::try_from(plan.buffers.len()).expect("a plan has far fewer buffers"));
        plan.buffers.push(Spec {
            label: dotted(&spec.label, "bytes"),
            shape: [frames, height, width * channels].into(),
            dtype: DType::U8,
            role: Role::Output,
            part: None,
        });
        plan.steps.push(Step {
            op: Op::Bytes,
            reads: vec![video],
            writes: bytes,
        });
        (plan, bytes)
    }

    /// The plan with `bufs` readable after a run: scratch among them becomes output.
    #[must_use]
    pub fn keeping(&self, bufs: impl IntoIterator<Item = Buf>) -> Self {
        let mut plan = self.clone();
        for buf in bufs {
            let root = self.root(buf);
            for (spec, buf) in plan.buffers.iter_mut().zip(self.handles()) {
                if self.root(buf) == root && spec.role == Role::Scratch {
                    spec.role = Role::Output;
                }
            }
        }
        plan
    }

    /// Step `index` alone: what it reads becomes input (weights stay weights), what it writes output, what it reads
    /// and writes state. Handles stay valid.
    ///
    /// # Panics
    /// If there is no such step.
    #[must_use]
    pub fn single(&self, index: usize) -> Self {
        let step = self.steps[index].clone();
        let mut plan = Self {
            buffers: self.buffers.clone(),
            steps: vec![step.clone()],
            segments: Vec::new(),
        };
        let used: Vec<Buf> = step.reads.iter().map(|&buf| self.root(buf)).collect();
        let written = self.root(step.writes);
        for buf in self.handles() {
            let spec = &mut plan.buffers[buf.index()];
            if spec.role == Role::Weight && used.contains(&buf) {
                continue;
            }
            spec.role = match (used.contains(&buf), buf == written) {
                (true, true) => Role::State,
                (false, true) => Role::Output,
                (true, false) => Role::Input,
                (false, false) => Role::Scratch,
            };
        }
        plan
    }
}
