//! Offsets of buffers in one arena: scratch buffers whose lifetimes do not overlap share memory.

use std::ops::Range;

use super::{Buf, Plan, Role};

/// Alignment of every buffer, bytes: enough for tensor maps and vector loads.
const ALIGNMENT: usize = 256;

/// Offsets of a plan's buffers in one allocation.
#[derive(Clone, Debug)]
pub struct Arena {
    /// Offset in bytes of each whole, non-weight buffer, by [`super::Buf::index`]; `None` for scratch that no step
    /// touches.
    pub offsets: Vec<Option<usize>>,
    /// Size of the allocation in bytes.
    pub bytes: usize,
}

/// First and last step that touch a buffer.
#[derive(Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

impl Life {
    fn meets(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl Plan {
    /// The last step that reads or writes each whole buffer; parts count as their whole. `None` for buffers that
    /// outlive a run.
    pub fn last_uses(&self) -> Vec<Option<usize>> {
        self.lives(|step| step)
            .into_iter()
            .map(|life| life.map(|l| l.last))
            .collect()
    }

    /// Places every input, state, output and scratch buffer, the largest first, each at the lowest offset that is free
    /// during its lifetime.
    pub fn arena(&self) -> Arena {
        self.place(self.lives(|step| step))
    }

    /// [`Plan::arena`] for steps that run in groups, one kernel each: what a group touches lives for the whole group,
    /// and `unwritten` buffers get no memory. The groups are in order and cover all steps.
    pub fn arena_of_groups(&self, groups: &[Range<usize>], unwritten: &[Buf]) -> Arena {
        let mut lives = self.lives(|step| groups.partition_point(|group| group.end <= step));
        for buf in unwritten {
            lives[buf.index()] = None;
        }
        self.place(lives)
    }

    /// Places buffers that outlive a run, and scratch that some step touches.
    fn place(&self, lives: Vec<Option<Life>>) -> Arena {
        let whole_run = Life {
            first: 0,
            last: usize::MAX,
        };
        let mut order: Vec<(usize, Life)> = self
            .buffers()
            .iter()
            .zip(lives)
            .enumerate()
            .filter(|(_, (spec, _))| spec.part.is_none() && spec.role != Role::Weight)
            .filter_map(|(index, (spec, life))| {
                let kept = (spec.role != Role::Scratch).then_some(whole_run);
                Some((index, life.or(kept)?))
            })
            .collect();
        order.sort_by_key(|&(index, _)| std::cmp::Reverse(self.buffers()[index].bytes()));

        let mut arena = Arena {
            offsets: vec![None; self.buffers().len()],
            bytes: 0,
        };
        let mut placed: Vec<(usize, usize, Life)> = Vec::new();
        for (index, life) in order {
            let bytes = self.buffers()[index].bytes().next_multiple_of(ALIGNMENT);
            let offset = lowest_gap(&placed, life, bytes);
            arena.offsets[index] = Some(offset);
            arena.bytes = arena.bytes.max(offset + bytes);
            let at = placed.partition_point(|&(start, _, _)| start < offset);
            placed.insert(at, (offset, offset + bytes, life));
        }
        arena
    }

    /// Lifetimes of scratch buffers, in units of `time(step)`.
    fn lives(&self, time: impl Fn(usize) -> usize) -> Vec<Option<Life>> {
        let mut lives: Vec<Option<Life>> = vec![None; self.buffers().len()];
        for (index, step) in self.steps().iter().enumerate() {
            for &buf in step.reads.iter().chain([&step.writes]) {
                let root = self.root(buf);
                if self.spec(root).role != Role::Scratch {
                    continue;
                }
                let now = time(index);
                let life = lives[root.index()].get_or_insert(Life {
                    first: now,
                    last: now,
                });
                life.last = now;
            }
        }
        lives
    }
}

/// Lowest offset where `bytes` are free of everything alive during `life`; `placed` is sorted by start.
fn lowest_gap(placed: &[(usize, usize, Life)], life: Life, bytes: usize) -> usize {
    let mut offset = 0;
    for &(start, end, other) in placed {
        if !life.meets(other) {
            continue;
        }
        if start >= offset + bytes {
            break;
        }
        offset = offset.max(end);
    }
    offset
}
