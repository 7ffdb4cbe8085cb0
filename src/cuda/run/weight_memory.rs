//! The device memory of a network's weights.

use std::sync::Arc;

use crate::{
    cuda::{
        gpu::device::{Device, Memory},
        lowering::{arena::DeviceView, weights::WeightLayout},
    },
    plan::Spec,
};

/// The allocation of weights, and their offsets in it.
pub(in crate::cuda) struct WeightMemory {
    pub(in crate::cuda) memory: Memory,
    pub(in crate::cuda) device: Arc<dyn Device>,
    pub(in crate::cuda) layout: WeightLayout,
}

impl WeightMemory {
    /// Address of the memory.
    pub(in crate::cuda) fn base(&self) -> u64 {
        self.memory.start()
    }

    /// The tensor at a position of the list.
    pub(in crate::cuda) fn spec(&self, at: usize) -> &Spec {
        &self.layout.tensor(at).spec
    }

    /// That tensor as kernels address it.
    pub(in crate::cuda) fn view(&self, at: usize) -> DeviceView {
        let view = self.layout.view(&self.spec(at).label, self.base());
        view.expect("a position of the list")
    }
}
