//! Addresses of a plan's buffers on the device: one allocation for activations, placed by their lifetimes, and the
//! workspace of launches; another for the metadata that kernels read. For weights see [`super::weights`].

use std::ops::Range;

use crate::{
    DType,
    plan::{Arena, Buf, Plan},
};

/// Alignment of every weight and metadata entry in bytes: that of the arena's buffers.
pub(in crate::cuda) const ALIGNMENT: usize = 256;

/// A buffer, or a rectangle of one, as kernels address it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cuda) struct DeviceView {
    /// Address of the first element.
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
    /// The view of some of its rows.
    pub(in crate::cuda) fn rows(self, rows: Range<usize>) -> Self {
        let skipped = rows.start * self.pitch * self.dtype.size();
        Self {
            address: self.address + skipped as u64,
            rows: rows.len(),
            ..self
        }
    }

    /// The view of some of its columns.
    pub(in crate::cuda) fn cols(self, cols: Range<usize>) -> Self {
        Self {
            address: self.address + (cols.start * self.dtype.size()) as u64,
            cols: cols.len(),
            ..self
        }
    }
}

/// Base addresses of a program's allocations, and of the weights it reads.
#[derive(Clone, Copy, Debug)]
pub(in crate::cuda) struct BaseAddresses {
    pub(in crate::cuda) arena: u64,
    pub(in crate::cuda) weights: u64,
    pub(in crate::cuda) metadata: u64,
}

impl BaseAddresses {
    /// Placeholders, aligned as real addresses are: to learn which kernels run and how much memory they take before it
    /// is allocated.
    pub(in crate::cuda) const UNPLACED: Self = Self {
        arena: 1 << 32,
        weights: 1 << 33,
        metadata: 1 << 34,
    };
}

/// Offsets of a program's own memory.
pub(in crate::cuda) struct Layout {
    arena: Arena,
    /// Bytes of workspace behind the arena's buffers.
    workspace: usize,
}

impl Layout {
    /// Buffers of a plan at the offsets of `arena`, and `workspace` bytes behind them.
    pub(in crate::cuda) fn new(arena: Arena, workspace: usize) -> Self {
        Self { arena, workspace }
    }

    /// Size of the arena and the workspace behind it.
    pub(in crate::cuda) fn bytes(&self) -> usize {
        self.arena.bytes.next_multiple_of(ALIGNMENT) + self.workspace
    }

    /// Address of the workspace.
    pub(in crate::cuda) fn workspace(&self, bases: BaseAddresses) -> u64 {
        bases.arena + self.arena.bytes.next_multiple_of(ALIGNMENT) as u64
    }

    /// Whether `buf`, no weight, has an address: values that a fused kernel does not write have none.
    pub(in crate::cuda) fn has_address(&self, plan: &Plan, buf: Buf) -> bool {
        self.arena.offsets[plan.root(buf).index()].is_some()
    }

    /// Byte range of the whole buffer that `buf`, no weight, is or is a part of.
    ///
    /// # Panics
    /// If it has no address: a weight, or a value that its kernel does not write.
    pub(in crate::cuda) fn range(&self, plan: &Plan, buf: Buf) -> Range<usize> {
        let spec = plan.spec(plan.root(buf));
        let start = self.arena.offsets[plan.root(buf).index()];
        let start =
            start.unwrap_or_else(|| panic!("{} has no address in the arena", plan.spec(buf).label));
        start..start + spec.bytes()
    }
}

/// `buf` as kernels address it; the whole buffer that it is or is a part of starts at `address`.
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
    /// Range of each entry, so that equal ones are shared.
    entries: Vec<Range<usize>>,
    workspace: usize,
}

impl Metadata {
    /// No entries yet; they will start at `base`.
    pub(in crate::cuda) fn new(base: u64) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    /// Requests a workspace of at least `bytes`.
    pub(in crate::cuda) fn ask_for_workspace(&mut self, bytes: usize) {
        self.workspace = self.workspace.max(bytes);
    }

    /// The largest workspace requested.
    pub(in crate::cuda) fn workspace(&self) -> usize {
        self.workspace
    }

    /// Address of an entry of these bytes.
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
