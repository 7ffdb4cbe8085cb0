//! The device memory of a network's weights.

use std::sync::Arc;

use crate::{
    cuda::{
        gpu::device::{Device, Memory},
        lowering::{arena::DeviceView, weights::WeightLayout},
    },
    plan::Spec,
};

/// Where weights lie, or will.
pub(in crate::cuda) struct WeightMemory {
    pub(in crate::cuda) memory: Memory,
    pub(in crate::cuda) device: Arc<dyn Device>,
    pub(in crate::cuda) layout: WeightLayout,
}

impl WeightMemory {
    /// Where the memory starts.
    pub(in crate::cuda) fn base(&self) -> u64 {
        self.memory.start()
    }

    /// The tensor at a position of the list.
    pub(in crate::cuda) fn spec(&self, at: usize) -> &Spec {
        &self.layout.tensor(at).spec
    }

    /// The same for kernels.
    pub(in crate::cuda) fn view(&self, at: usize) -> DeviceView {
        let view = self.layout.view(&self.spec(at).label, self.base());
        view.expect("what is on the list has a place")
    }
}
