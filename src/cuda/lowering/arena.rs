//! Where the buffers of a plan lie on the device: one allocation for activations, from the plan's lifetimes, and for
//! what launches keep for a moment, and one for the tables that kernels read. Weights are [`super::weights`]'.

use std::ops::Range;

use crate::{
    DType,
    plan::{Arena, Buf, Plan},
};

/// Alignment of every weight and table, bytes: that of the arena's buffers.
pub(in crate::cuda) const ALIGNMENT: usize = 256;

/// A buffer, or a rectangle of one, as kernels address it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cuda) struct DeviceView {
    /// Of the first element.
    pub(in crate::cuda) address: u64,
    /// Rows: the product of all axes but the last.
    pub(in crate::cuda) rows: usize,
    /// Columns: the last axis.
    pub(in crate::cuda) cols: usize,
    /// Elements from one row to the next.
    pub(in crate::cuda) pitch: usize,
    /// Type of the elements.
    pub(in crate::cuda) dtype: DType,
}

impl DeviceView {
    /// Some of its rows.
    pub(in crate::cuda) fn rows(self, rows: Range<usize>) -> Self {
        let skipped = rows.start * self.pitch * self.dtype.size();
        Self {
            address: self.address + skipped as u64,
            rows: rows.len(),
            ..self
        }
    }

    /// Some of its columns.
    pub(in crate::cuda) fn cols(self, cols: Range<usize>) -> Self {
        Self {
            address: self.address + (cols.start * self.dtype.size()) as u64,
            cols: cols.len(),
            ..self
        }
    }
}

/// Where the allocations start: those of a program, and that of the weights it reads.
#[derive(Clone, Copy, Debug)]
pub(in crate::cuda) struct BaseAddresses {
    pub(in crate::cuda) arena: u64,
    pub(in crate::cuda) weights: u64,
    pub(in crate::cuda) tables: u64,
}

impl BaseAddresses {
    /// Addresses that nothing lies at, aligned as real ones are: to find out what will be launched, and how much
    /// memory that takes, before there is any.
    pub(in crate::cuda) const UNPLACED: Self = Self {
        arena: 1 << 32,
        weights: 1 << 33,
        tables: 1 << 34,
    };
}

/// Offsets of a program's own memory.
pub(in crate::cuda) struct Layout {
    arena: Arena,
    /// Bytes behind the arena's buffers.
    workspace: usize,
}

impl Layout {
    /// Buffers of a plan as `arena` has them, and `workspace` bytes behind them.
    pub(in crate::cuda) fn new(arena: Arena, workspace: usize) -> Self {
        Self { arena, workspace }
    }

    /// Size of the arena and the workspace behind it.
    pub(in crate::cuda) fn bytes(&self) -> usize {
        self.arena.bytes.next_multiple_of(ALIGNMENT) + self.workspace
    }

    /// Where the workspace starts.
    pub(in crate::cuda) fn workspace(&self, bases: BaseAddresses) -> u64 {
        bases.arena + self.arena.bytes.next_multiple_of(ALIGNMENT) as u64
    }

    /// Whether `buf`, no weight, lies anywhere: what its kernel does not write does not.
    pub(in crate::cuda) fn has_place(&self, plan: &Plan, buf: Buf) -> bool {
        self.arena.offsets[plan.root(buf).index()].is_some()
    }

    /// The bytes of the whole buffer that `buf`, no weight, is or is a part of.
    ///
    /// # Panics
    /// If it has no place: a weight, or a value that its kernel does not write.
    pub(in crate::cuda) fn range(&self, plan: &Plan, buf: Buf) -> Range<usize> {
        let spec = plan.spec(plan.root(buf));
        let start = self.arena.offsets[plan.root(buf).index()];
        let start =
            start.unwrap_or_else(|| panic!("{} has no place in the arena", plan.spec(buf).label));
        start..start + spec.bytes()
    }
}

/// `buf` as kernels see it, where the whole buffer that it is or is a part of starts at `address`.
pub(in crate::cuda) fn view(plan: &Plan, buf: Buf, address: u64) -> DeviceView {
    let (spec, root) = (plan.spec(buf), plan.spec(plan.root(buf)));
    let part = spec.part.as_ref();
    let (row, col) = part.map_or((0, 0), |part| (part.rows.start, part.cols.start));
    let offset = (row * root.pitch() + col) * spec.dtype.size();
    DeviceView {
        address: address + offset as u64,
        rows: spec.shape.rows(),
        cols: spec.shape.cols(),
        pitch: root.pitch(),
        dtype: spec.dtype,
    }
}

/// Constants that kernels read, such as lists of tiles: collected while lowering, copied once. And how much workspace
/// launches ask for.
#[derive(Default)]
pub(in crate::cuda) struct Metadata {
    base: u64,
    bytes: Vec<u8>,
    /// Start and length of what was added, to add nothing twice.
    entries: Vec<Range<usize>>,
    workspace: usize,
}

impl Metadata {
    /// No tables yet; they will lie at `base`.
    pub(in crate::cuda) fn new(base: u64) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    /// Asks for a workspace of at least `bytes`.
    pub(in crate::cuda) fn ask_for_workspace(&mut self, bytes: usize) {
        self.workspace = self.workspace.max(bytes);
    }

    /// The largest workspace asked for.
    pub(in crate::cuda) fn workspace(&self) -> usize {
        self.workspace
    }

    /// Address of a table of these bytes.
    pub(in crate::cuda) fn add(&mut self, bytes: &[u8]) -> u64 {
        let same = |range: &&Range<usize>| &self.bytes[(**range).clone()] == bytes;
        if let Some(range) = self.entries.iter().find(same) {
            return self.base + range.start as u64;
        }
        let start = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(bytes);
        self.entries.push(start..self.bytes.len());
        self.base + start as u64
    }

    /// What to copy to the device.
    pub(in crate::cuda) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
