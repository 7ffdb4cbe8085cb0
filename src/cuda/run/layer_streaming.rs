//! Layers whose weights are copied while the layer before is computed.
//!
//! Two slots of device memory take turns. The copy of a layer waits until the layer that had its slot was computed, and
//! computing waits until the copy is done: two events for each slot, and nothing else orders the queues.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    upload::{StagingRing, Stored},
    weight_memory::WeightMemory,
};
use crate::{
    Result,
    cuda::gpu::device::{Device, Event, Stream},
    executor::Cancel,
    weights::Weights,
};

/// Where the layers of a network come from, and which are on the device.
pub(in crate::cuda) struct LayerStreaming {
    ring: Arc<Mutex<StagingRing>>,
    /// The weights of each layer that is streamed, in the order they lie.
    stored: Vec<Vec<Stored>>,
    slots: [Slot; 2],
}

/// One of two places for a layer's weights.
struct Slot {
    /// The layer whose weights are there or on their way.
    holds: Option<usize>,
    /// Behind their copies.
    copied: Event,
    /// Behind the last work that reads them.
    computed: Event,
}

impl LayerStreaming {
    /// Knows of no weights yet, and queues nothing.
    pub(in crate::cuda) fn new(device: &dyn Device, ring: Arc<Mutex<StagingRing>>) -> Result<Self> {
        let slot = || {
            Ok(Slot {
                holds: None,
                copied: device.event()?,
                computed: device.event()?,
            })
        };
        Ok(Self {
            ring,
            stored: Vec::new(),
            slots: [slot()?, slot()?],
        })
    }

    /// Queues what brings the weights that stay, which the compute queue will wait for, and looks up the others.
    pub(in crate::cuda) fn open(
        &mut self,
        to: &WeightMemory,
        weights: &Weights,
        staging: usize,
        cancel: &Cancel,
    ) -> Result<()> {
        for (_, block) in to.layout.streamed() {
            let tensors = block.tensors.iter();
            let stored = tensors.map(|&at| Stored::of(to.spec(at), weights));
            self.stored.push(stored.collect::<Result<_>>()?);
        }
        let copied = &self.slots[0].copied;
        lock(&self.ring).upload_fixed(to, weights, staging, cancel)?;
        to.device.record(copied, Stream::Copy)?;
        to.device.wait(Stream::Compute, copied)
    }

    /// Lets the compute queue wait for the weights of layer `number`.
    pub(in crate::cuda) fn before(
        &mut self,
        to: &WeightMemory,
        number: usize,
        cancel: &Cancel,
    ) -> Result<()> {
        self.copy(to, number, cancel)?;
        to.device
            .wait(Stream::Compute, &self.slots[number % 2].copied)
    }

    /// Behind the last work of layer `number`: starts to copy the next, after the last the first for the next run.
    pub(in crate::cuda) fn after(
        &mut self,
        to: &WeightMemory,
        number: usize,
        cancel: &Cancel,
    ) -> Result<()> {
        to.device
            .record(&self.slots[number % 2].computed, Stream::Compute)?;
        self.copy(to, (number + 1) % self.stored.len(), cancel)
    }

    /// Forgets what the slots hold, after a copy that failed.
    pub(in crate::cuda) fn forget(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.holds = None);
    }

    /// Queues the copies of layer `number`, unless they are.
    fn copy(&mut self, to: &WeightMemory, number: usize, cancel: &Cancel) -> Result<()> {
        let slot = &mut self.slots[number % 2];
        if slot.holds == Some(number) {
            return Ok(());
        }
        slot.holds = None;
        to.device.wait(Stream::Copy, &slot.computed)?;
        let (_, block) = &to.layout.streamed()[number];
        lock(&self.ring).upload(to, block, &self.stored[number], cancel)?;
        to.device.record(&slot.copied, Stream::Copy)?;
        slot.holds = Some(number);
        Ok(())
    }
}

/// The ring, whatever became of its last user: a slot that was half filled is filled again.
fn lock(ring: &Mutex<StagingRing>) -> MutexGuard<'_, StagingRing> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}
