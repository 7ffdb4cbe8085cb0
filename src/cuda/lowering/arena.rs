//! Where the buffers of a plan lie on the device: one allocation for activations, from the plan's lifetimes, and for
//! what launches keep for a moment, one for weights, those of a layer together, and one for the tables that kernels read.

use std::ops::Range;

use crate::{
    DType,
    cuda::gpu::device::Memory,
    plan::{Arena, Buf, Plan, Role},
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

/// Where the three allocations start.
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

/// Weights that are copied together, to one stretch of bytes.
pub(in crate::cuda) struct Block {
    /// In the order they lie, each at a multiple of [`ALIGNMENT`].
    pub(in crate::cuda) bufs: Vec<Buf>,
    pub(in crate::cuda) range: Range<usize>,
}

/// Offsets of everything.
pub(in crate::cuda) struct Layout {
    arena: Arena,
    /// Offset of each weight by [`Buf::index`].
    weights: Vec<Option<usize>>,
    /// Weights that stay.
    fixed: Block,
    /// Weights that only steps of one stretch read, with the number of that stretch: the first, third, ... of them
    /// share one slot of memory, the others a second.
    streamed: Vec<(usize, Block)>,
    weight_bytes: usize,
    /// Bytes behind the arena's buffers.
    workspace: usize,
}

impl Layout {
    /// Lays the weights out in the order that `groups`, the steps that run as one, read them; `streamed` says whether
    /// those of layers share two slots.
    pub(in crate::cuda) fn new(
        plan: &Plan,
        arena: Arena,
        groups: &[Range<usize>],
        streamed: bool,
    ) -> Self {
        let graph_segments = graph_segments(plan);
        let mut fixed = Vec::new();
        let mut layers = vec![Vec::new(); graph_segments.len()];
        for (buf, home) in homes(plan, groups, &graph_segments) {
            let layer = home.filter(|&home| streamed && is_layer(plan, &graph_segments[home]));
            layer.map_or(&mut fixed, |home| &mut layers[home]).push(buf);
        }
        let mut weights = vec![None; plan.buffers().len()];
        let mut place = |bufs: Vec<Buf>, start: usize| {
            let mut end = start;
            for buf in &bufs {
                weights[buf.index()] = Some(end);
                end += plan.spec(*buf).bytes().next_multiple_of(ALIGNMENT);
            }
            let range = start..end;
            Block { bufs, range }
        };
        let fixed = place(fixed, 0);
        let size = |bufs: &Vec<Buf>| -> usize {
            let bytes = bufs.iter().map(|&buf| plan.spec(buf).bytes());
            bytes.map(|bytes| bytes.next_multiple_of(ALIGNMENT)).sum()
        };
        let slot = layers.iter().map(size).max().unwrap_or(0);
        let layers = layers.into_iter().enumerate();
        let layers = layers.filter(|(_, bufs)| !bufs.is_empty()).enumerate();
        let streamed: Vec<(usize, Block)> = layers
            .map(|(number, (segment, bufs))| {
                (segment, place(bufs, fixed.range.end + number % 2 * slot))
            })
            .collect();
        Self {
            arena,
            weights,
            weight_bytes: fixed.range.end + streamed.len().min(2) * slot,
            fixed,
            streamed,
            workspace: 0,
        }
    }

    /// The same with `bytes` of workspace.
    pub(in crate::cuda) fn with_workspace(self, bytes: usize) -> Self {
        Self {
            workspace: bytes,
            ..self
        }
    }

    /// Size of the arena and the workspace behind it.
    pub(in crate::cuda) fn arena_bytes(&self) -> usize {
        self.arena.bytes.next_multiple_of(ALIGNMENT) + self.workspace
    }

    /// Where the workspace starts.
    pub(in crate::cuda) fn workspace(&self, bases: BaseAddresses) -> u64 {
        bases.arena + self.arena.bytes.next_multiple_of(ALIGNMENT) as u64
    }

    /// Bytes that the weights take.
    pub(in crate::cuda) fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// Bytes of weights that are copied in every run; two layers keep their slots.
    pub(in crate::cuda) fn copied_bytes(&self) -> usize {
        let blocks = self.streamed.iter().filter(|_| self.streamed.len() > 2);
        blocks.map(|(_, block)| block.range.len()).sum()
    }

    /// The weights that stay.
    pub(in crate::cuda) fn fixed(&self) -> &Block {
        &self.fixed
    }

    /// The weights that are copied in every run, each with the number of the stretch of steps that reads them; even
    /// ones lie in one slot, odd ones in the other.
    pub(in crate::cuda) fn streamed(&self) -> &[(usize, Block)] {
        &self.streamed
    }

    /// Offset of a weight.
    ///
    /// # Panics
    /// If no step reads it.
    pub(in crate::cuda) fn weight_offset(&self, buf: Buf) -> usize {
        self.weights[buf.index()].expect("weights that steps read have a place")
    }

    /// Whether `buf` lies anywhere: what its kernel does not write does not.
    pub(in crate::cuda) fn has_place(&self, plan: &Plan, buf: Buf) -> bool {
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
    pub(in crate::cuda) fn arena_range(&self, plan: &Plan, buf: Buf) -> Range<usize> {
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
    pub(in crate::cuda) fn view(&self, plan: &Plan, buf: Buf, bases: BaseAddresses) -> DeviceView {
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
        DeviceView {
            address: start + offset as u64,
            rows: spec.shape.rows(),
            cols: spec.shape.cols(),
            pitch: root.pitch(),
            dtype: spec.dtype,
        }
    }
}

/// All steps in order, cut where a segment starts or ends.
pub(in crate::cuda) fn graph_segments(plan: &Plan) -> Vec<Range<usize>> {
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

/// The stretch that a group of steps belongs to: where it starts.
pub(in crate::cuda) fn graph_segment_of(
    graph_segments: &[Range<usize>],
    group: &Range<usize>,
) -> usize {
    graph_segments.partition_point(|steps| steps.end <= group.start)
}

/// The weights in the order they are read, each with the one stretch whose groups read it, if it is one.
fn homes(
    plan: &Plan,
    groups: &[Range<usize>],
    graph_segments: &[Range<usize>],
) -> Vec<(Buf, Option<usize>)> {
    let mut homes: Vec<(Buf, Option<usize>)> = Vec::new();
    let mut position = vec![None; plan.buffers().len()];
    for group in groups {
        let home = graph_segment_of(graph_segments, group);
        let reads = plan.steps()[group.clone()]
            .iter()
            .flat_map(|step| &step.reads);
        let roots = reads.map(|&buf| plan.root(buf));
        for buf in roots.filter(|&buf| plan.spec(buf).role == Role::Weight) {
            let at = *position[buf.index()].get_or_insert_with(|| {
                homes.push((buf, Some(home)));
                homes.len() - 1
            });
            homes[at].1 = homes[at].1.filter(|&other| other == home);
        }
    }
    homes
}

/// Whether a stretch of steps lies in a segment.
fn is_layer(plan: &Plan, segment: &Range<usize>) -> bool {
    let inside = |steps: &Range<usize>| steps.start <= segment.start && segment.end <= steps.end;
    plan.segments().iter().any(|segment| inside(&segment.steps))
}

/// Constants that kernels read, such as lists of tiles: collected while lowering, copied once. And how much workspace
/// launches ask for.
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
            bytes: Vec::new(),
            entries: Vec::new(),
            workspace: 0,
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

/// The three allocations of a program.
pub(in crate::cuda) struct Allocations {
    pub(in crate::cuda) arena: Memory,
    pub(in crate::cuda) weights: Memory,
    pub(in crate::cuda) tables: Memory,
}

impl Allocations {
    /// Where they start.
    pub(in crate::cuda) fn bases(&self) -> BaseAddresses {
        let start = crate::cuda::gpu::device::ByteRange {
            offset: 0,
            bytes: 0,
        };
        BaseAddresses {
            arena: self.arena.address(start),
            weights: self.weights.address(start),
            tables: self.tables.address(start),
        }
    }
}
