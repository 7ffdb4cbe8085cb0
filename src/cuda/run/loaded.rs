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
    /// Locked by the running program, if layers are streamed.
    streaming: Mutex<LayerStreaming>,
    pub(in crate::cuda) weights: WeightMemory,
    source: Weights,
}

impl CudaLoaded {
    /// Uploads the resident weights to `to` and looks the others up, with at most `staging` bytes of device memory for
    /// staging. The compute stream waits for the copies.
    ///
    /// # Errors
    /// [`crate::Error::Weights`] for a tensor that is missing or not finite; [`crate::Error::Device`] if the device fails;
    /// [`crate::Error::Interrupted`].
    pub(in crate::cuda) fn new(
        to: WeightMemory,
        weights: &Weights,
        ring: Arc<Mutex<StagingRing>>,
        staging: usize,
        cancel: &Cancel,
    ) -> Result<Self> {
        let streaming = LayerStreaming::new(&*to.device, ring)?;
        let mut loaded = Self {
            streaming: Mutex::new(streaming),
            weights: to,
            source: weights.clone(),
        };
        let streaming = loaded.streaming.get_mut();
        let streaming = streaming.unwrap_or_else(PoisonError::into_inner);
        streaming.open(&loaded.weights, weights, staging, cancel)?;
        loaded.check_unchanged()?;
        Ok(loaded)
    }

    /// That the files of the weights are as they were when they were opened.
    ///
    /// # Errors
    /// [`crate::Error::Weights`].
    pub(in crate::cuda) fn check_unchanged(&self) -> Result<()> {
        self.source.check_unchanged()
    }

    /// The streamed layers, locked: only one program at a time may fill their slots.
    pub(in crate::cuda) fn streaming(&self) -> MutexGuard<'_, LayerStreaming> {
        self.streaming
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded for CudaLoaded {
    fn bytes(&self) -> u64 {
        self.weights.memory.bytes() as u64
    }
}

impl Drop for CudaLoaded {
    /// Waits until no work uses the memory.
    fn drop(&mut self) {
        // A device that fails here has reported its failure before.
        let _ = self.weights.device.synchronize();
    }
}
