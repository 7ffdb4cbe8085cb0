//! Where the buffers of a plan lie on the device: one allocation for activations, from the plan's lifetimes, and for
//! what launches keep for a moment, one for weights, segment by segment, and one for the tables that kernels read.

use std::ops::Range;

use super::device::Memory;
use crate::{
    DType,
    plan::{Arena, Buf, Plan, Role},
};

/// Alignment of every weight and table, bytes: that of the arena's buffers.
const ALIGNMENT: usize = 256;

/// A buffer, or a rectangle of one, as kernels address it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    /// Of the first element.
    pub(super) address: u64,
    /// Rows: the product of all axes but the last.
    pub(super) rows: usize,
    /// Columns: the last axis.
    pub(super) cols: usize,
    /// Elements from one row to the next.
    pub(super) pitch: usize,
    /// Type of the elements.
    pub(super) dtype: DType,
}

/// Where the three allocations start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bases {
    pub(super) arena: u64,
    pub(super) weights: u64,
    pub(super) tables: u64,
}

impl Bases {
    /// Addresses that nothing lies at, aligned as real ones are: to find out what will be launched, and how much
    /// memory that takes, before there is any.
    pub(super) const NOWHERE: Self = Self {
        arena: 1 << 32,
        weights: 1 << 33,
        tables: 1 << 34,
    };
}

/// Offsets of everything.
pub(super) struct Layout {
    arena: Arena,
    /// Offset of each weight by [`Buf::index`].
    weights: Vec<Option<usize>>,
    /// The weights each stretch of steps reads first, and the bytes they take.
    stretches: Vec<(Vec<Buf>, Range<usize>)>,
    /// Bytes behind the arena's buffers.
    workspace: usize,
}

impl Layout {
    /// Lays the weights out stretch by stretch beside the given arena.
    pub(super) fn new(plan: &Plan, arena: Arena) -> Self {
        let mut weights: Vec<Option<usize>> = vec![None; plan.buffers().len()];
        let mut end = 0;
        let place = |steps: Range<usize>| {
            let (start, mut first_read) = (end, Vec::new());
            let reads = plan.steps()[steps].iter().flat_map(|step| &step.reads);
            let roots = reads.map(|&buf| plan.root(buf));
            for buf in roots.filter(|&buf| plan.spec(buf).role == Role::Weight) {
                if weights[buf.index()].is_none() {
                    weights[buf.index()] = Some(end);
                    end += plan.spec(buf).bytes().next_multiple_of(ALIGNMENT);
                    first_read.push(buf);
                }
            }
            (first_read, start..end)
        };
        let stretches = stretches(plan).into_iter().map(place).collect();
        Self {
            arena,
            weights,
            stretches,
            workspace: 0,
        }
    }

    /// The same with `bytes` of workspace.
    pub(super) fn with_workspace(self, bytes: usize) -> Self {
        Self {
            workspace: bytes,
            ..self
        }
    }

    /// Size of the arena and the workspace behind it.
    pub(super) fn arena_bytes(&self) -> usize {
        self.arena.bytes.next_multiple_of(ALIGNMENT) + self.workspace
    }

    /// Where the workspace starts.
    pub(super) fn workspace(&self, bases: Bases) -> u64 {
        bases.arena + self.arena.bytes.next_multiple_of(ALIGNMENT) as u64
    }

    /// Size of all weights.
    pub(super) fn weight_bytes(&self) -> usize {
        self.stretches.last().map_or(0, |(_, range)| range.end)
    }

    /// The weights that each stretch is the first to read, and where they lie: one block of bytes for each stretch.
    pub(super) fn weights_by_stretch(&self) -> &[(Vec<Buf>, Range<usize>)] {
        &self.stretches
    }

    /// Offset of a weight.
    ///
    /// # Panics
    /// If no step reads it.
    pub(super) fn weight_offset(&self, buf: Buf) -> usize {
        self.weights[buf.index()].expect("weights that steps read have a place")
    }

    /// Whether `buf` lies anywhere: what its kernel does not write does not.
    pub(super) fn has_place(&self, plan: &Plan, buf: Buf) -> bool {
        let root = plan.root(buf);
        let places = match plan.spec(root).role {
            Role::Weight => &self.weights,
            Role::Input | Role::State | Role::Scratch | Role::Output => &self.arena.offsets,
        };
        places[root.index()].is_some()
    }

    /// The bytes of the whole buffer `buf` in the arena.
    ///
    /// # Panics
    /// If it has no place there: a weight, or a value that its kernel does not write.
    pub(super) fn arena_range(&self, plan: &Plan, buf: Buf) -> Range<usize> {
        let spec = plan.spec(plan.root(buf));
        let start = self.arena.offsets[plan.root(buf).index()];
        let start =
            start.unwrap_or_else(|| panic!("{} has no place in the arena", plan.spec(buf).label));
        start..start + spec.bytes()
    }

    /// `buf` for kernels.
    ///
    /// # Panics
    /// If it has no place.
    pub(super) fn view(&self, plan: &Plan, buf: Buf, bases: Bases) -> View {
        let (spec, root) = (plan.spec(buf), plan.spec(plan.root(buf)));
        let start = match root.role {
            Role::Weight => bases.weights + self.weight_offset(plan.root(buf)) as u64,
            Role::Input | Role::State | Role::Scratch | Role::Output => {
                bases.arena + self.arena_range(plan, buf).start as u64
            }
        };
        let (row, col) = spec
            .part
            .as_ref()
            .map_or((0, 0), |part| (part.rows.start, part.cols.start));
        let offset = (row * root.pitch() + col) * spec.dtype.size();
        View {
            address: start + offset as u64,
            rows: spec.shape.rows(),
            cols: spec.shape.cols(),
            pitch: root.pitch(),
            dtype: spec.dtype,
        }
    }
}

/// All steps in order, cut where a segment starts or ends.
pub(super) fn stretches(plan: &Plan) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = plan
        .segments()
        .iter()
        .flat_map(|segment| [segment.steps.start, segment.steps.end])
        .chain([0, plan.steps().len()])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Constants that kernels read, such as lists of tiles: collected while lowering, copied once. And how much workspace
/// launches ask for.
pub(super) struct Tables {
    base: u64,
    bytes: Vec<u8>,
    /// Start and length of what was added, to add nothing twice.
    entries: Vec<Range<usize>>,
    workspace: usize,
}

impl Tables {
    /// No tables yet; they will lie at `base`.
    pub(super) fn new(base: u64) -> Self {
        Self {
            base,
            bytes: Vec::new(),
            entries: Vec::new(),
            workspace: 0,
        }
    }

    /// Asks for a workspace of at least `bytes`.
    pub(super) fn ask_for_workspace(&mut self, bytes: usize) {
        self.workspace = self.workspace.max(bytes);
    }

    /// The largest workspace asked for.
    pub(super) fn workspace(&self) -> usize {
        self.workspace
    }

    /// Address of a table of these bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> u64 {
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
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The three allocations of a program.
pub(super) struct Memories {
    pub(super) arena: Memory,
    pub(super) weights: Memory,
    pub(super) tables: Memory,
}

impl Memories {
    /// Where they start.
    pub(super) fn bases(&self) -> Bases {
        let start = super::device::Part {
            offset: 0,
            bytes: 0,
        };
        Bases {
            arena: self.arena.address(start),
            weights: self.weights.address(start),
            tables: self.tables.address(start),
        }
    }
}
