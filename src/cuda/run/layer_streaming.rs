//! Streams layers: copies the weights of each while the layer before it is computed.
//!
//! Two slots of device memory take turns. The copy of a layer waits until the layer before in its slot is computed, and
//! the computation waits for the copy: two events for each slot, and nothing else, order the streams.

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

/// The streamed layers of a network, and which of them are on the device.
pub(in crate::cuda) struct LayerStreaming {
    ring: Arc<Mutex<StagingRing>>,
    /// The weights of each streamed layer, in the order of their offsets.
    stored: Vec<Vec<Stored>>,
    slots: [Slot; 2],
}

/// One of the two slots.
struct Slot {
    /// The layer whose weights are there or being copied.
    holds: Option<usize>,
    /// Recorded after their copies.
    copied: Event,
    /// Recorded after the last work that reads them.
    computed: Event,
}

impl LayerStreaming {
    /// Without weights yet; enqueues nothing.
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

    /// Uploads the resident weights, which the compute stream waits for, and looks up the others.
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

    /// Lets the compute stream wait for the weights of layer `number`.
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

    /// After the last work of layer `number`: starts to copy the next one; after the last layer, the first for the next run.
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

    /// Enqueues the copies of layer `number`, unless they already are.
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

/// Locks the ring even if its last user panicked: every slot is filled anew.
fn lock(ring: &Mutex<StagingRing>) -> MutexGuard<'_, StagingRing> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}
