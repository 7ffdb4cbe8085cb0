//! Weights on their way to the device: mapped file, pinned slot, copy queue.
//!
//! Threads fill a slot of pinned memory with rows as the device will have them, and look for NaN and infinity while the
//! bytes are in the cache; the copy queue takes it while they fill the next. Who reads the weights waits for an event
//! on that queue.
//!
//! Of the weights that stay, the device makes those itself that follow from a rule, and rounds those to FP8 that are
//! stored in more.

#![allow(
    unsafe_code,
    reason = "a slot must stay as it is until its copy is done; launches"
)]

use std::{ops::Range, path::PathBuf};

use rayon::prelude::*;

use super::{
    device_buffers::DeviceBuffers,
    transfer::{put_rows, row_bytes},
};
use crate::{
    DType, Result, Tensor,
    cuda::{
        gpu::device::{Device, Event, Memory, Pinned, Stream},
        launch,
        lowering::{
            arena::{ALIGNMENT, Block, DeviceView},
            work::BoundLaunch,
        },
    },
    executor::tensor_spec,
    plan::{Buf, Plan, Spec},
    weights::{self, Rule, Weights, check_finite, is_finite},
};

/// Slots: while one is copied, the next are filled.
const SLOTS: usize = 4;
/// The most bytes that a thread fills at a time, so that they are still in its cache when they are looked at.
const TASK_BYTES: usize = 1 << 20;

/// Pinned memory that weights go through. Whoever uploads empties the copy queue before dropping its share of it.
pub(in crate::cuda) struct StagingRing {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    pinned: Box<dyn Pinned>,
    /// Behind the copy that reads it.
    copied: Event,
}

/// A tensor of a checkpoint, of which nothing is read yet where files are mapped.
#[derive(Clone)]
pub(in crate::cuda) struct Stored {
    tensor: Tensor,
    /// For messages.
    path: PathBuf,
}

impl Stored {
    /// What the weight `buf` is copied from.
    pub(in crate::cuda) fn of(plan: &Plan, buf: Buf, weights: &Weights) -> Result<Self> {
        let spec = tensor_spec(plan, buf);
        Ok(Self {
            tensor: weights.load(&spec)?,
            path: weights.path(&spec.name),
        })
    }
}

/// Where the values of a weight that stays come from.
enum WeightOrigin {
    /// The checkpoint has them.
    Stored(Stored),
    /// A kernel makes them.
    Generated(BoundLaunch),
    /// A kernel rounds them to FP8, with scales in this other weight.
    Quantized(Unquantized, Buf),
    /// They are such scales.
    Scales,
}

/// What is rounded to FP8.
enum Unquantized {
    Stored(Stored),
    Rule((u64, Rule)),
}

impl WeightOrigin {
    /// Of the weight `buf`.
    fn of(to: &DeviceBuffers, buf: Buf, weights: &Weights, staging: &Staging) -> Result<Self> {
        let plan = &to.plan;
        let stored = || Stored::of(plan, buf, weights).map(Self::Stored);
        let pair = quantized_pair(plan, buf);
        if pair.is_some_and(|(weight, _)| !staging.holds(plan.spec(weight))) {
            return stored();
        }
        let spec = tensor_spec(plan, buf);
        let of_file = |tensor| Stored {
            tensor,
            path: weights.path(&spec.name),
        };
        match (weights.origin(&spec)?, pair) {
            (weights::Origin::Stored(tensor), _) => Ok(Self::Stored(of_file(tensor))),
            (weights::Origin::Rule(key, rule), None) => {
                let sound = launch::synthetic::fill(to.view(buf), 0, (key, rule))?;
                sound.map_or_else(stored, |sound| Ok(Self::Generated(sound)))
            }
            (weights::Origin::Quantized(_), Some((weight, _))) if buf != weight => Ok(Self::Scales),
            (weights::Origin::Quantized(full), Some((_, scales))) => match *full {
                weights::Origin::Stored(full) => {
                    Ok(Self::Quantized(Unquantized::Stored(of_file(full)), scales))
                }
                weights::Origin::Rule(key, rule @ Rule::Uniform { .. }) => {
                    Ok(Self::Quantized(Unquantized::Rule((key, rule)), scales))
                }
                weights::Origin::Rule(_, Rule::Bands) | weights::Origin::Quantized(_) => stored(),
            },
            (weights::Origin::Rule(..), Some(_)) | (weights::Origin::Quantized(_), None) => {
                stored()
            }
        }
    }
}

/// A weight in FP8 and its scales, of which `buf` is one.
fn quantized_pair(plan: &Plan, buf: Buf) -> Option<(Buf, Buf)> {
    const SCALES: &str = "_scale";
    let label = &plan.spec(buf).label;
    let (weight, scales) = match label.strip_suffix(SCALES) {
        Some(weight) => (plan.find(weight)?, buf),
        None => (buf, plan.find(&format!("{label}{SCALES}"))?),
    };
    (plan.spec(weight).dtype == DType::E4m3).then_some((weight, scales))
}

/// Rows of a weight and their place in a slot.
struct Piece<'a> {
    /// What the rows become.
    spec: &'a Spec,
    stored: Stored,
    rows: Range<usize>,
    /// From the slot's start, in bytes.
    at: usize,
}

impl Piece<'_> {
    fn bytes(&self) -> usize {
        self.rows.len() * row_bytes(self.spec)
    }
}

impl StagingRing {
    /// Allocates slots of `bytes`.
    pub(in crate::cuda) fn new(device: &dyn Device, bytes: usize) -> Result<Self> {
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

    /// Puts the weights that stay where they belong: copies on the copy queue, and kernels on the compute queue for
    /// those that the device makes or rounds. What the arena held is lost.
    ///
    /// # Errors
    /// Those of the weights and the device; a tensor that is not finite; [`crate::Error::Interrupted`].
    pub(in crate::cuda) fn upload_fixed(
        &mut self,
        to: &DeviceBuffers,
        weights: &Weights,
    ) -> Result<()> {
        let mut staging = Staging::of(to, self.slot_bytes())?;
        let mut batch = Batch::default();
        for &buf in &to.layout.fixed().bufs {
            to.how.cancel.check()?;
            match WeightOrigin::of(to, buf, weights, &staging)? {
                WeightOrigin::Stored(stored) => self.add(to, &mut batch, buf, &stored)?,
                WeightOrigin::Quantized(full, scales) => {
                    self.send(to, &mut batch)?;
                    self.round(to, (buf, scales), &full, &mut staging)?;
                }
                WeightOrigin::Scales => self.send(to, &mut batch)?,
                WeightOrigin::Generated(sound) => {
                    self.send(to, &mut batch)?;
                    // SAFETY: made for a weight of this memory, which lives until the queues are empty.
                    unsafe { sound.queue(&*to.device) }?;
                }
            }
        }
        self.send(to, &mut batch)
    }

    /// Puts the weights of `block` on the copy queue, a slot at a time.
    ///
    /// # Errors
    /// As [`StagingRing::upload_fixed`].
    pub(in crate::cuda) fn upload(
        &mut self,
        to: &DeviceBuffers,
        block: &Block,
        stored: &dyn Fn(Buf) -> Stored,
    ) -> Result<()> {
        let mut batch = Batch::default();
        for &buf in &block.bufs {
            self.add(to, &mut batch, buf, &stored(buf))?;
        }
        self.send(to, &mut batch)
    }

    fn slot_bytes(&self) -> usize {
        (*self.slots[0].pinned).as_ref().len()
    }

    /// Adds a weight to what is sent together, as much of it as fits a slot at a time.
    fn add<'a>(
        &mut self,
        to: &'a DeviceBuffers,
        batch: &mut Batch<'a>,
        buf: Buf,
        stored: &Stored,
    ) -> Result<()> {
        let spec = to.plan.spec(buf);
        let (offset, row_bytes) = (to.layout.weight_offset(buf), row_bytes(spec));
        let mut rows = 0..spec.shape.rows();
        while !rows.is_empty() {
            let start = offset + rows.start * row_bytes;
            if batch.pieces.is_empty() {
                batch.start = start;
            }
            let at = start - batch.start;
            let count = (self.slot_bytes().saturating_sub(at) / row_bytes).min(rows.len());
            if count == 0 {
                assert!(at > 0, "a row of {} fits a slot", spec.label);
                self.send(to, batch)?;
                continue;
            }
            let end = rows.start + count;
            batch.pieces.push(Piece {
                spec,
                stored: stored.clone(),
                rows: rows.start..end,
                at,
            });
            rows.start = end;
        }
        Ok(())
    }

    /// Sends what was added, if anything.
    fn send(&mut self, to: &DeviceBuffers, batch: &mut Batch<'_>) -> Result<()> {
        let pieces = std::mem::take(&mut batch.pieces);
        self.copy(to, (&to.memories.weights, batch.start), &pieces)
    }

    /// Fills a slot and queues its copy.
    fn copy(
        &mut self,
        to: &DeviceBuffers,
        (memory, start): (&Memory, usize),
        pieces: &[Piece<'_>],
    ) -> Result<()> {
        to.how.cancel.check()?;
        let Some(last) = pieces.last() else {
            return Ok(());
        };
        let count = self.slots.len();
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % count;
        to.device.finish(&slot.copied)?;
        let bytes = &mut (*slot.pinned).as_mut()[..last.at + last.bytes()];
        fill(pieces, bytes)?;
        // SAFETY: the slot is filled again only behind `copied`, which is recorded next, and freed only when the copy
        // queue is empty.
        unsafe { to.device.h2d_async(memory, start, bytes) }?;
        to.device.record(&slot.copied, Stream::Copy)
    }

    /// Brings rows to the staging area in bf16, and lets a kernel round them.
    fn round(
        &mut self,
        to: &DeviceBuffers,
        (buf, scales): (Buf, Buf),
        full: &Unquantized,
        staging: &mut Staging,
    ) -> Result<()> {
        let spec = &as_bf16(to.plan.spec(buf));
        let (values, scales) = (to.view(buf), to.view(scales));
        let step = staging.bytes / row_bytes(spec);
        for start in (0..values.rows).step_by(step) {
            let rows = start..(start + step).min(values.rows);
            let (part, offset) = staging.next();
            let from = DeviceView {
                address: to.memories.bases().arena + offset as u64,
                rows: rows.len(),
                cols: values.cols,
                pitch: spec.pitch(),
                dtype: DType::Bf16,
            };
            match full {
                Unquantized::Stored(stored) => {
                    let piece = Piece {
                        spec,
                        stored: stored.clone(),
                        rows: rows.clone(),
                        at: 0,
                    };
                    to.device.wait(Stream::Copy, &part.rounded)?;
                    self.copy(to, (&to.memories.arena, offset), &[piece])?;
                    to.device.record(&part.copied, Stream::Copy)?;
                    to.device.wait(Stream::Compute, &part.copied)?;
                }
                Unquantized::Rule(rule) => {
                    let sound = launch::synthetic::fill(from, start, *rule)?;
                    let sound = sound.expect("bf16 is made of uniform rules");
                    // SAFETY: made for rows of this program's arena, which is there.
                    unsafe { sound.queue(&*to.device) }?;
                }
            }
            let rounded = (values.rows(rows.clone()), scales.cols(rows));
            let sound = launch::quantize::weight(from, rounded.0, rounded.1)?;
            // SAFETY: made for rows of this program's weights and arena; those of the arena stay until `rounded`.
            unsafe { sound.queue(&*to.device) }?;
            to.device.record(&part.rounded, Stream::Compute)?;
        }
        Ok(())
    }
}

/// Neighbours that are copied together.
#[derive(Default)]
struct Batch<'a> {
    /// Where they go, in bytes from the start of the weights.
    start: usize,
    pieces: Vec<Piece<'a>>,
}

/// Two parts of the arena, before values lie there: rows on their way to be rounded.
struct Staging {
    parts: [StagingPart; 2],
    /// Of a part.
    bytes: usize,
    turn: usize,
}

struct StagingPart {
    copied: Event,
    rounded: Event,
}

impl Staging {
    fn of(to: &DeviceBuffers, most: usize) -> Result<Self> {
        let part = || {
            Ok(StagingPart {
                copied: to.device.event()?,
                rounded: to.device.event()?,
            })
        };
        Ok(Self {
            parts: [part()?, part()?],
            bytes: (to.layout.arena_bytes() / 2).min(most) / ALIGNMENT * ALIGNMENT,
            turn: 0,
        })
    }

    /// The part whose turn it is, and where it lies in the arena.
    fn next(&mut self) -> (&StagingPart, usize) {
        self.turn = 1 - self.turn;
        (&self.parts[self.turn], self.turn * self.bytes)
    }

    /// Whether a part has room for rows of a weight.
    fn holds(&self, spec: &Spec) -> bool {
        row_bytes(&as_bf16(spec)) <= self.bytes
    }
}

fn as_bf16(spec: &Spec) -> Spec {
    Spec {
        dtype: DType::Bf16,
        ..spec.clone()
    }
}

/// Writes and checks all pieces, many threads at once.
fn fill(pieces: &[Piece<'_>], mut rest: &mut [u8]) -> Result<()> {
    let (mut tasks, mut end) = (Vec::new(), 0);
    for piece in pieces {
        let row_bytes = row_bytes(piece.spec);
        let (_, from) = rest.split_at_mut(piece.at - end);
        let (own, behind) = from.split_at_mut(piece.bytes());
        (end, rest) = (piece.at + own.len(), behind);
        let step = (TASK_BYTES / row_bytes).max(1);
        let starts = piece.rows.clone().step_by(step);
        let tasks_of = starts.zip(own.chunks_mut(step * row_bytes));
        tasks.extend(tasks_of.map(|(first, to)| (piece, first..first + to.len() / row_bytes, to)));
    }
    tasks.into_par_iter().try_for_each(|(piece, rows, to)| {
        let (spec, Stored { tensor, path }) = (piece.spec, &piece.stored);
        put_rows(spec, tensor, rows.clone(), to);
        let cols = spec.shape.cols();
        if is_finite(tensor, rows.start * cols..rows.end * cols) {
            return Ok(());
        }
        check_finite(path, &spec.label, tensor)
    })
}
