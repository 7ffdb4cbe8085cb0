//! Uploads weights: from the mapped file through a ring of pinned staging slots to the device.
//!
//! Threads fill a slot with rows in the device's layout and check for NaN and infinity while the bytes are in the cache;
//! the copy stream copies it while they fill the next. Readers of the weights wait for an event on that stream.
//!
//! The device itself generates resident weights that are synthetic, and rounds to FP8 those that are stored in more bits.

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

/// Number of slots: while one is copied, the next are filled.
const SLOTS: usize = 4;
/// The most bytes that a thread fills at a time, so that they are still in its cache when they are checked.
const TASK_BYTES: usize = 1 << 20;

/// Ring of pinned slots that weights are copied through. Users synchronize the copy stream before they drop their share.
pub(in crate::cuda) struct StagingRing {
    slots: Vec<Slot>,
    next: usize,
}

struct Slot {
    pinned: Box<dyn Pinned>,
    /// Recorded after the copy that reads it.
    copied: Event,
}

/// A tensor of a checkpoint; of a mapped file nothing is read yet.
#[derive(Clone)]
pub(in crate::cuda) struct Stored {
    tensor: Tensor,
    /// For messages.
    path: PathBuf,
}

impl Stored {
    /// The tensor that a weight is copied from.
    pub(in crate::cuda) fn of(spec: &Spec, weights: &Weights) -> Result<Self> {
        let spec = tensor_spec(spec);
        Ok(Self {
            tensor: weights.load(&spec)?,
            path: weights.path(&spec.name),
        })
    }
}

/// Origin of a resident weight's values.
enum WeightOrigin {
    /// The checkpoint.
    Stored(Stored),
    /// A kernel generates them.
    Generated(BoundLaunch),
    /// A kernel rounds them to FP8 and writes the scales to the weight at this position of the list.
    Quantized(Unquantized, usize),
    /// Such scales.
    Scales,
}

/// The values that are rounded to FP8.
enum Unquantized {
    Stored(Stored),
    Rule((u64, Rule)),
}

impl WeightOrigin {
    /// Of the weight at position `at` of the list.
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

/// Positions of an FP8 weight and of its scales; `at` is either of them.
fn quantized_pair(list: &TensorList, at: usize) -> Option<(usize, usize)> {
    const SCALES: &str = "_scale";
    let label = &list.tensors()[at].spec.label;
    let (weight, scales) = match label.strip_suffix(SCALES) {
        Some(weight) => (list.position(weight)?, at),
        None => (at, list.position(&format!("{label}{SCALES}"))?),
    };
    (list.tensors()[weight].spec.dtype == DType::E4m3).then_some((weight, scales))
}

/// Rows of a weight and their offset in a slot.
struct Piece<'a> {
    /// The weight on the device.
    spec: &'a Spec,
    stored: Stored,
    rows: Range<usize>,
    /// Offset in the slot, in bytes.
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

    /// Uploads the resident weights: copies on the copy stream, and kernels on the compute stream for those that the device
    /// generates or rounds. Rounding takes up to `staging` bytes of device memory.
    ///
    /// # Errors
    /// [`crate::Error::Weights`] for a tensor that is missing or not finite; [`crate::Error::Device`] if the device fails;
    /// [`crate::Error::Interrupted`].
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
                WeightOrigin::Generated(launch) => {
                    self.send(&mut batch)?;
                    // SAFETY: made for a weight of this memory, which lives until the streams are empty.
                    unsafe { launch.enqueue(&*to.device) }?;
                }
            }
        }
        self.send(&mut batch)
    }

    /// Enqueues copies of the weights of `block`, each from its `stored` tensor, a slot at a time.
    ///
    /// # Errors
    /// Those of [`StagingRing::upload_fixed`].
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

    /// Adds a weight to the batch, and sends the batch whenever a slot is full.
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

    /// Sends the batch, unless it is empty.
    fn send(&mut self, batch: &mut Batch<'_>) -> Result<()> {
        let pieces = std::mem::take(&mut batch.pieces);
        self.copy(batch, (&batch.to.memory, batch.start), &pieces)
    }

    /// Fills a slot and enqueues its copy.
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
        // SAFETY: the slot is refilled only after `copied`, which is recorded next, and freed only when the copy stream is
        // empty.
        unsafe { to.device.h2d_async(memory, start, bytes) }?;
        to.device.record(&slot.copied, Stream::Copy)
    }

    /// Copies or generates rows in bf16 in the staging memory, and rounds them there by a kernel.
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
                    let launch = launch::synthetic::fill(from, first, *rule)?;
                    let launch = launch.expect("a kernel for uniform rules in bf16");
                    // SAFETY: made for rows of the staging memory, which lives until the streams are empty.
                    unsafe { launch.enqueue(&*to.device) }?;
                }
            }
            let rounded = (values.rows(rows.clone()), scales.cols(rows));
            let launch = launch::quantize::weight(from, rounded.0, rounded.1)?;
            // SAFETY: made for rows of the weights and of the staging memory, which both live until the streams are empty;
            // the staging rows stay until `rounded`.
            unsafe { launch.enqueue(&*to.device) }?;
            to.device.record(&part.rounded, Stream::Compute)?;
        }
        Ok(())
    }
}

/// Adjacent weights that are copied together.
struct Batch<'a> {
    to: &'a WeightMemory,
    cancel: &'a Cancel,
    /// Their offset in the weights, in bytes.
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

/// Double buffer on the device for rows that are to be rounded, allocated when it is first needed.
struct Staging<'a> {
    device: &'a dyn Device,
    memory: Option<Memory>,
    parts: [StagingPart; 2],
    /// Size of a part.
    bytes: usize,
    turn: usize,
}

struct StagingPart {
    copied: Event,
    rounded: Event,
}

impl<'a> Staging<'a> {
    /// Two parts of at most `bytes`.
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

    /// The memory, the next part and its offset.
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
    /// Waits until no work uses the memory.
    fn drop(&mut self) {
        if self.memory.is_some() {
            // A device that fails here has reported its failure before, or will when the weights are used.
            let _ = self.device.synchronize();
        }
    }
}

/// Writes and checks all pieces, in parallel.
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
