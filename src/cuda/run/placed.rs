//! A plan with its memory on a device.

use std::sync::Arc;

use crate::{
    cuda::{
        gpu::device::Device,
        lowering::arena::{Layout, Memories, View},
    },
    executor::Prepare,
    plan::{Buf, Plan},
};

/// A plan with its memory.
pub(in crate::cuda) struct Placed {
    pub(in crate::cuda) memories: Memories,
    pub(in crate::cuda) device: Arc<dyn Device>,
    pub(in crate::cuda) plan: Plan,
    pub(in crate::cuda) layout: Layout,
    pub(in crate::cuda) how: Prepare,
}

impl Placed {
    /// A buffer for kernels.
    pub(in crate::cuda) fn view(&self, buf: Buf) -> View {
        self.layout.view(&self.plan, buf, self.memories.bases())
    }
}
