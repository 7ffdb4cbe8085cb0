//! A plan with its memory on a device.

use std::sync::Arc;

use crate::{
    cuda::{
        gpu::device::Device,
        lowering::arena::{Allocations, DeviceView, Layout},
    },
    executor::Prepare,
    plan::{Buf, Plan},
};

/// A plan with its memory.
pub(in crate::cuda) struct DeviceBuffers {
    pub(in crate::cuda) memories: Allocations,
    pub(in crate::cuda) device: Arc<dyn Device>,
    pub(in crate::cuda) plan: Plan,
    pub(in crate::cuda) layout: Layout,
    pub(in crate::cuda) how: Prepare,
}

impl DeviceBuffers {
    /// A buffer for kernels.
    pub(in crate::cuda) fn view(&self, buf: Buf) -> DeviceView {
        self.layout.view(&self.plan, buf, self.memories.bases())
    }
}
