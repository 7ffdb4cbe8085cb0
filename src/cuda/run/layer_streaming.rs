//! Layers whose weights are copied while the layer before is computed.
//!
//! Two slots of device memory take turns. The copy of a layer waits until the layer that had its slot was computed, and
//! computing waits until the copy is done: two events for each slot, and nothing else orders the queues.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    device_buffers::DeviceBuffers,
    upload::{StagingRing, Stored},
};
use crate::{
    Result,
    cuda::gpu::device::{Device, Event, Stream},
    plan::{Buf, Plan},
    weights::Weights,
};

/// Where the layers of a program come from, and which are on the device.
pub(in crate::cuda) struct LayerStreaming {
    ring: Arc<Mutex<StagingRing>>,
    /// By [`Buf::index`]; of weights that are streamed.
    stored: Vec<Option<Stored>>,
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
    pub(in crate::cuda) fn new(
        device: &dyn Device,
        plan: &Plan,
        ring: Arc<Mutex<StagingRing>>,
    ) -> Result<Self> {
        let slot = || {
            Ok(Slot {
                holds: None,
                copied: device.event()?,
                computed: device.event()?,
            })
        };
        Ok(Self {
            ring,
            stored: vec![None; plan.buffers().len()],
            slots: [slot()?, slot()?],
        })
    }

    /// Queues what brings the weights that stay, which the compute queue will wait for, and looks up the others. What the
    /// arena held is lost.
    pub(in crate::cuda) fn open(&mut self, to: &DeviceBuffers, weights: &Weights) -> Result<()> {
        for &buf in to
            .layout
            .streamed()
            .iter()
            .flat_map(|(_, block)| &block.bufs)
        {
            self.stored[buf.index()] = Some(Stored::of(&to.plan, buf, weights)?);
        }
        let copied = &self.slots[0].copied;
        lock(&self.ring).upload_fixed(to, weights)?;
        to.device.record(copied, Stream::Copy)?;
        to.device.wait(Stream::Compute, copied)
    }

    /// Lets the compute queue wait for the weights of layer `number`.
    pub(in crate::cuda) fn before(&mut self, to: &DeviceBuffers, number: usize) -> Result<()> {
        self.copy(to, number)?;
        to.device
            .wait(Stream::Compute, &self.slots[number % 2].copied)
    }

    /// Behind the last work of layer `number`: starts to copy the next, after the last the first for the next run.
    pub(in crate::cuda) fn after(&mut self, to: &DeviceBuffers, number: usize) -> Result<()> {
        to.device
            .record(&self.slots[number % 2].computed, Stream::Compute)?;
        self.copy(to, (number + 1) % to.layout.streamed().len())
    }

    /// Forgets what the slots hold, after a copy that failed.
    pub(in crate::cuda) fn forget(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.holds = None);
    }

    /// Queues the copies of layer `number`, unless they are.
    fn copy(&mut self, to: &DeviceBuffers, number: usize) -> Result<()> {
        let slot = &mut self.slots[number % 2];
        if slot.holds == Some(number) {
            return Ok(());
        }
        slot.holds = None;
        to.device.wait(Stream::Copy, &slot.computed)?;
        let stored = |buf: Buf| {
            let known = self.stored[buf.index()].clone();
            known.expect("what is streamed was looked up before")
        };
        let (_, block) = &to.layout.streamed()[number];
        lock(&self.ring).upload(to, block, &stored)?;
        to.device.record(&slot.copied, Stream::Copy)?;
        slot.holds = Some(number);
        Ok(())
    }
}

/// The ring, whatever became of its last user: a slot that was half filled is filled again.
fn lock(ring: &Mutex<StagingRing>) -> std::sync::MutexGuard<'_, StagingRing> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}
