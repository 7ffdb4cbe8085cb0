//! Weights on their way to the device: mapped file, pinned slot, copy queue.
//!
//! Threads fill a slot of pinned memory with rows as the device will have them, and look for NaN and infinity while the
//! bytes are in the cache; the copy queue takes it while they fill the next. Who reads the weights waits for an event
//! on that queue.

#![allow(
    unsafe_code,
    reason = "a slot must stay as it is until its copy is done"
)]

use std::{ops::Range, path::PathBuf};

use rayon::prelude::*;

use super::{
    arena::Block,
    device::{Device, Event, Pinned, Queue},
    program::Placed,
    transfer::{put_rows, row_bytes},
};
use crate::{
    Result, Tensor,
    executor::want,
    plan::{Buf, Plan},
    weights::{Weights, check_finite, is_finite},
};

/// Slots: while one is copied, the next are filled.
const SLOTS: usize = 4;
/// The most bytes that a thread fills at a time, so that they are still in its cache when they are looked at.
const TASK_BYTES: usize = 1 << 20;

/// Pinned memory that weights go through. Whoever uploads empties the copy queue before dropping its share of it.
pub(super) struct Ring {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    pinned: Box<dyn Pinned>,
    /// Behind the copy that reads it.
    copied: Event,
}

/// Where the values of a weight come from.
#[derive(Clone)]
pub(super) struct Origin {
    tensor: Tensor,
    /// For messages.
    path: PathBuf,
}

impl Origin {
    /// The weight `buf` in the checkpoint, of which nothing is read yet where files are mapped.
    pub(super) fn of(plan: &Plan, buf: Buf, weights: &Weights) -> Result<Self> {
        let want = want(plan, buf);
        Ok(Self {
            tensor: weights.load(&want)?,
            path: weights.path(&want.name),
        })
    }
}

/// Rows of a weight and their place in a slot.
struct Piece {
    buf: Buf,
    origin: Origin,
    rows: Range<usize>,
    /// From the slot's start, in bytes.
    at: usize,
}

impl Ring {
    /// Allocates slots of `bytes`.
    pub(super) fn new(device: &dyn Device, bytes: usize) -> Result<Self> {
        let slot = |_| {
            Ok(Slot {
                pinned: device.alloc_pinned(bytes)?,
                copied: device.event()?,
            })
        };
        Ok(Self {
            slots: (0..SLOTS).map(slot).collect::<Result<_>>()?,
            next: 0,
        })
    }

    /// Puts the weights of `block` on the copy queue, a slot at a time.
    ///
    /// # Errors
    /// Those of `origin` and the device; a tensor that is not finite; [`crate::Error::Interrupted`].
    pub(super) fn upload(
        &mut self,
        to: &Placed,
        block: &Block,
        origin: &dyn Fn(Buf) -> Result<Origin>,
    ) -> Result<()> {
        let capacity = (*self.slots[0].pinned).as_ref().len();
        let (mut start, mut pieces) = (block.range.start, Vec::new());
        for &buf in &block.bufs {
            let (spec, origin) = (to.plan.spec(buf), origin(buf)?);
            let (offset, row_bytes) = (to.layout.weight_offset(buf), row_bytes(spec));
            let mut rows = 0..spec.shape.rows();
            while !rows.is_empty() {
                let at = offset + rows.start * row_bytes - start;
                let count = (capacity.saturating_sub(at) / row_bytes).min(rows.len());
                if count == 0 {
                    assert!(!pieces.is_empty(), "a row of {} fits a slot", spec.label);
                    self.send(to, start, &std::mem::take(&mut pieces))?;
                    start = offset + rows.start * row_bytes;
                    continue;
                }
                let end = rows.start + count;
                pieces.push(Piece {
                    buf,
                    origin: origin.clone(),
                    rows: rows.start..end,
                    at,
                });
                rows.start = end;
            }
        }
        self.send(to, start, &pieces)
    }

    /// Fills a slot and queues its copy to `start`.
    fn send(&mut self, to: &Placed, start: usize, pieces: &[Piece]) -> Result<()> {
        to.how.cancel.check()?;
        let Some(last) = pieces.last() else {
            return Ok(());
        };
        let count = self.slots.len();
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % count;
        to.device.finish(&slot.copied)?;
        let bytes = last.at + last.rows.len() * row_bytes(to.plan.spec(last.buf));
        let bytes = &mut (*slot.pinned).as_mut()[..bytes];
        fill(&to.plan, pieces, bytes)?;
        // SAFETY: the slot is filled again only behind `copied`, which is recorded next, and freed only when the copy
        // queue is empty.
        unsafe { to.device.copy_in_later(&to.memories.weights, start, bytes) }?;
        to.device.record(&slot.copied, Queue::Copy)
    }
}

/// Writes and checks all pieces, many threads at once.
fn fill(plan: &Plan, pieces: &[Piece], mut rest: &mut [u8]) -> Result<()> {
    let (mut tasks, mut end) = (Vec::new(), 0);
    for piece in pieces {
        let row_bytes = row_bytes(plan.spec(piece.buf));
        let (_, from) = rest.split_at_mut(piece.at - end);
        let (own, behind) = from.split_at_mut(piece.rows.len() * row_bytes);
        (end, rest) = (piece.at + own.len(), behind);
        let step = (TASK_BYTES / row_bytes).max(1);
        let starts = piece.rows.clone().step_by(step);
        let tasks_of = starts.zip(own.chunks_mut(step * row_bytes));
        tasks.extend(tasks_of.map(|(first, to)| (piece, first..first + to.len() / row_bytes, to)));
    }
    tasks.into_par_iter().try_for_each(|(piece, rows, to)| {
        let (spec, Origin { tensor, path }) = (plan.spec(piece.buf), &piece.origin);
        put_rows(spec, tensor, rows.clone(), to);
        let cols = spec.shape.cols();
        if is_finite(tensor, rows.start * cols..rows.end * cols) {
            return Ok(());
        }
        check_finite(path, &spec.label, tensor)
    })
}
