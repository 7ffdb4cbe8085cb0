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
    transfer::{put_rows, row_bytes},
    weight_memory::WeightMemory,
};
use crate::{
    DType, Result, Tensor,
    cuda::{
        gpu::device::{Device, Event, Memory, Pinned, Stream},
        launch,
        lowering::{
            arena::{ALIGNMENT, DeviceView},
            weights::Block,
            work::BoundLaunch,
        },
    },
    executor::{Cancel, tensor_spec},
    plan::{Spec, TensorList},
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
    /// What a weight is copied from.
    pub(in crate::cuda) fn of(spec: &Spec, weights: &Weights) -> Result<Self> {
        let spec = tensor_spec(spec);
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
    /// A kernel rounds them to FP8, with scales in this other weight, by its position in the list.
    Quantized(Unquantized, usize),
    /// They are such scales.
    Scales,
}

/// What is rounded to FP8.
enum Unquantized {
    Stored(Stored),
    Rule((u64, Rule)),
}

impl WeightOrigin {
    /// Of the weight at a position of the list.
    fn of(to: &WeightMemory, at: usize, weights: &Weights, staging: &Staging<'_>) -> Result<Self> {
        let stored = || Stored::of(to.spec(at), weights).map(Self::Stored);
        let pair = quantized_pair(to.layout.list(), at);
        if pair.is_some_and(|(weight, _)| !staging.holds(to.spec(weight))) {
            return stored();
        }
        let spec = tensor_spec(to.spec(at));
        let of_file = |tensor| Stored {
            tensor,
            path: weights.path(&spec.name),
        };
        match (weights.origin(&spec)?, pair) {
            (weights::Origin::Stored(tensor), _) => Ok(Self::Stored(of_file(tensor))),
            (weights::Origin::Rule(key, rule), None) => {
                let launch = launch::synthetic::fill(to.view(at), 0, (key, rule))?;
                launch.map_or_else(stored, |launch| Ok(Self::Generated(launch)))
            }
            (weights::Origin::Quantized(_), Some((weight, _))) if at != weight => Ok(Self::Scales),
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

/// Positions of a weight in FP8 and of its scales, of which `at` is one.
fn quantized_pair(list: &TensorList, at: usize) -> Option<(usize, usize)> {
    const SCALES: &str = "_scale";
    let label = &list.tensors()[at].spec.label;
    let (weight, scales) = match label.strip_suffix(SCALES) {
        Some(weight) => (list.position(weight)?, at),
        None => (at, list.position(&format!("{label}{SCALES}"))?),
    };
    (list.tensors()[weight].spec.dtype == DType::E4m3).then_some((weight, scales))
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
    /// those that the device makes or rounds, which takes `staging` bytes of memory until it is done.
    ///
    /// # Errors
    /// Those of the weights and the device; a tensor that is not finite; [`crate::Error::Interrupted`].
    pub(in crate::cuda) fn upload_fixed(
        &mut self,
        to: &WeightMemory,
        weights: &Weights,
        staging: usize,
        cancel: &Cancel,
    ) -> Result<()> {
        let mut staging = Staging::new(&*to.device, (staging / 2).min(self.slot_bytes()))?;
        let mut batch = Batch::new(to, cancel);
        for &at in &to.layout.fixed().tensors {
            cancel.check()?;
            match WeightOrigin::of(to, at, weights, &staging)? {
                WeightOrigin::Stored(stored) => self.add(&mut batch, at, &stored)?,
                WeightOrigin::Quantized(full, scales) => {
                    self.send(&mut batch)?;
                    self.round(&batch, (at, scales), &full, &mut staging)?;
                }
                WeightOrigin::Scales => self.send(&mut batch)?,
                WeightOrigin::Generated(sound) => {
                    self.send(&mut batch)?;
                    // SAFETY: made for a weight of this memory, which lives until the queues are empty.
                    unsafe { sound.queue(&*to.device) }?;
                }
            }
        }
        self.send(&mut batch)
    }

    /// Puts the weights of `block`, copied from `stored` each, on the copy queue, a slot at a time.
    ///
    /// # Errors
    /// As [`StagingRing::upload_fixed`].
    pub(in crate::cuda) fn upload(
        &mut self,
        to: &WeightMemory,
        block: &Block,
        stored: &[Stored],
        cancel: &Cancel,
    ) -> Result<()> {
        let mut batch = Batch::new(to, cancel);
        for (&at, stored) in block.tensors.iter().zip(stored) {
            self.add(&mut batch, at, stored)?;
        }
        self.send(&mut batch)
    }

    fn slot_bytes(&self) -> usize {
        (*self.slots[0].pinned).as_ref().len()
    }

    /// Adds a weight to what is sent together, as much of it as fits a slot at a time.
    fn add(&mut self, batch: &mut Batch<'_>, at: usize, stored: &Stored) -> Result<()> {
        let spec = batch.to.spec(at);
        let (offset, row_bytes) = (batch.to.layout.offset(at), row_bytes(spec));
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
                self.send(batch)?;
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
    fn send(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        let pieces = std::mem::take(&mut batch.pieces);
        self.copy(batch, (&batch.to.memory, batch.start), &pieces)
    }

    /// Fills a slot and queues its copy.
    fn copy(
        &mut self,
        Batch { to, cancel, .. }: &Batch<'_>,
        (memory, start): (&Memory, usize),
        pieces: &[Piece<'_>],
    ) -> Result<()> {
        cancel.check()?;
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

    /// Brings rows to the staging memory in bf16, and lets a kernel round them.
    fn round(
        &mut self,
        batch: &Batch<'_>,
        (at, scales): (usize, usize),
        full: &Unquantized,
        staging: &mut Staging<'_>,
    ) -> Result<()> {
        let to = batch.to;
        let spec = &as_bf16(to.spec(at));
        let (values, scales) = (to.view(at), to.view(scales));
        let step = staging.bytes / row_bytes(spec);
        for first in (0..values.rows).step_by(step) {
            let rows = first..(first + step).min(values.rows);
            let (memory, part, offset) = staging.next()?;
            let from = DeviceView {
                address: memory.start() + offset as u64,
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
                    self.copy(batch, (memory, offset), &[piece])?;
                    to.device.record(&part.copied, Stream::Copy)?;
                    to.device.wait(Stream::Compute, &part.copied)?;
                }
                Unquantized::Rule(rule) => {
                    let sound = launch::synthetic::fill(from, first, *rule)?;
                    let sound = sound.expect("bf16 is made of uniform rules");
                    // SAFETY: made for rows of the staging memory, which lives until the queues are empty.
                    unsafe { sound.queue(&*to.device) }?;
                }
            }
            let rounded = (values.rows(rows.clone()), scales.cols(rows));
            let sound = launch::quantize::weight(from, rounded.0, rounded.1)?;
            // SAFETY: made for rows of the weights and of the staging memory, which both live until the queues are
            // empty; those of the latter stay until `rounded`.
            unsafe { sound.queue(&*to.device) }?;
            to.device.record(&part.rounded, Stream::Compute)?;
        }
        Ok(())
    }
}

/// Neighbours that are copied together.
struct Batch<'a> {
    to: &'a WeightMemory,
    cancel: &'a Cancel,
    /// Where they go, in bytes from the start of the weights.
    start: usize,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Batch<'a> {
    fn new(to: &'a WeightMemory, cancel: &'a Cancel) -> Self {
        Self {
            to,
            cancel,
            start: 0,
            pieces: Vec::new(),
        }
    }
}

/// Memory of two parts for rows on their way to be rounded; there is none before the first.
struct Staging<'a> {
    device: &'a dyn Device,
    memory: Option<Memory>,
    parts: [StagingPart; 2],
    /// Of a part.
    bytes: usize,
    turn: usize,
}

struct StagingPart {
    copied: Event,
    rounded: Event,
}

impl<'a> Staging<'a> {
    /// Of parts of at most `bytes`.
    fn new(device: &'a dyn Device, bytes: usize) -> Result<Self> {
        let part = || {
            Ok(StagingPart {
                copied: device.event()?,
                rounded: device.event()?,
            })
        };
        Ok(Self {
            device,
            memory: None,
            parts: [part()?, part()?],
            bytes: bytes / ALIGNMENT * ALIGNMENT,
            turn: 0,
        })
    }

    /// The memory, the part whose turn it is, and where it lies.
    fn next(&mut self) -> Result<(&Memory, &StagingPart, usize)> {
        if self.memory.is_none() {
            let memory = self.device.alloc(2 * self.bytes, "weights to be rounded")?;
            self.memory = Some(memory);
        }
        let memory = self.memory.as_ref().expect("it was allocated");
        self.turn = 1 - self.turn;
        Ok((memory, &self.parts[self.turn], self.turn * self.bytes))
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

impl Drop for Staging<'_> {
    /// Memory must not go while something works on it.
    fn drop(&mut self) {
        if self.memory.is_some() {
            // A device that fails here failed before, or will say so when the weights are used.
            let _ = self.device.synchronize();
        }
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
