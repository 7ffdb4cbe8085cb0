//! The weights of a network on a device: one allocation, which the programs of the network share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{layer_streaming::LayerStreaming, upload::StagingRing, weight_memory::WeightMemory};
use crate::{
    Result,
    executor::{Cancel, Loaded},
    weights::Weights,
};

/// The weights of a network on a device.
pub(in crate::cuda) struct CudaLoaded {
    /// Locked by the one program that runs, if layers are streamed.
    stream: Mutex<LayerStreaming>,
    pub(in crate::cuda) weights: WeightMemory,
}

impl CudaLoaded {
    /// Brings the weights that stay to `to` and looks the others up. Of the device's memory `staging` bytes are free
    /// for as long as that takes. The compute queue will wait for the copies.
    ///
    /// # Errors
    /// Those of the weights and the device; a tensor that is not finite; [`crate::Error::Interrupted`].
    pub(in crate::cuda) fn new(
        to: WeightMemory,
        weights: &Weights,
        ring: Arc<Mutex<StagingRing>>,
        staging: usize,
        cancel: &Cancel,
    ) -> Result<Self> {
        let stream = LayerStreaming::new(&*to.device, ring)?;
        let mut loaded = Self {
            stream: Mutex::new(stream),
            weights: to,
        };
        let stream = loaded.stream.get_mut();
        let stream = stream.unwrap_or_else(PoisonError::into_inner);
        stream.open(&loaded.weights, weights, staging, cancel)?;
        Ok(loaded)
    }

    /// The layers that are streamed, for one program alone: what it queues is what lies in their slots.
    pub(in crate::cuda) fn stream(&self) -> MutexGuard<'_, LayerStreaming> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded for CudaLoaded {
    fn bytes(&self) -> u64 {
        self.weights.memory.bytes() as u64
    }
}

impl Drop for CudaLoaded {
    /// Memory must not go while something works on it.
    fn drop(&mut self) {
        // A device that fails here failed before, and said so.
        let _ = self.weights.device.synchronize();
    }
}
