//! What lowering makes: bound launches, whose arguments are vouched for, and the units of steps that they run.

#![allow(
    unsafe_code,
    reason = "each launch function promises that its arguments are what the kernel asks for"
)]

use std::{ops::Range, sync::Arc};

use crate::{
    Result,
    cuda::gpu::{
        arguments::{Arguments, Instance},
        cublaslt::{GemmDesc, Operands},
        device::{Device, Launch},
        gemm_backend::GemmAlgorithm,
    },
    plan::Buf,
};

/// A launch whose arguments are what its kernel asks for, if the memory it was lowered for is there; or a library's GEMM,
/// for which the same holds.
pub(in crate::cuda) struct BoundLaunch(Bound);

enum Bound {
    Kernel(Launch),
    ByBackend(Arc<dyn GemmAlgorithm>),
}

impl BoundLaunch {
    /// Vouches for `launch`.
    ///
    /// # Safety
    /// If [`Lowering::memory`] is given and as large as the layout says, the arguments are what the kernel's header asks
    /// for: every address points into that memory, to at least as many elements as the kernel reads and writes for these
    /// sizes and this grid, aligned as it needs.
    pub(in crate::cuda) unsafe fn new(launch: Launch) -> Self {
        Self(Bound::Kernel(launch))
    }

    /// Vouches for a library's GEMM.
    ///
    /// # Safety
    /// As for [`BoundLaunch::new`].
    pub(in crate::cuda) unsafe fn by_backend(algorithm: Arc<dyn GemmAlgorithm>) -> Self {
        Self(Bound::ByBackend(algorithm))
    }

    /// The kernel's name, or the library's.
    pub(in crate::cuda) fn name(&self) -> &'static str {
        match &self.0 {
            Bound::Kernel(launch) => launch.kernel().name,
            Bound::ByBackend(algorithm) => algorithm.name(),
        }
    }

    /// Enqueues it on the compute stream.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device or the library refuses.
    ///
    /// # Safety
    /// The memory it was lowered for, metadata included, is there until it is done.
    pub(in crate::cuda) unsafe fn enqueue(&self, device: &dyn Device) -> Result<()> {
        match &self.0 {
            // SAFETY: `new` vouches for the arguments; the memory is the caller's promise.
            Bound::Kernel(launch) => unsafe { device.launch(launch) },
            // SAFETY: as above.
            Bound::ByBackend(algorithm) => unsafe { algorithm.enqueue() },
        }
    }

    /// A launch of the instance of `all` for the element types of `args`, without dynamic shared memory, for memory that
    /// is there already; `None` if there is no such instance.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) for a grid that no kernel can have.
    ///
    /// # Safety
    /// As for [`BoundLaunch::new`], of the memory that the arguments point into.
    pub(in crate::cuda) unsafe fn one_of<A: Arguments>(
        all: &[Instance<A>],
        args: &A,
        grid: [u32; 3],
    ) -> Result<Option<Self>> {
        let launch = Launch::one_of(all, args, grid, 0)?;
        // SAFETY: the caller vouches for the arguments.
        Ok(launch.map(|launch| unsafe { Self::new(launch) }))
    }
}

/// Consecutive steps that run as one, and their launches in order.
pub(in crate::cuda) struct Unit {
    pub(in crate::cuda) steps: Range<usize>,
    pub(in crate::cuda) launches: Vec<BoundLaunch>,
    /// The GEMMs that a library could compute instead.
    pub(in crate::cuda) gemms: Vec<(GemmDesc, Operands)>,
    /// Values that the launches do not write, because only these steps read them.
    pub(in crate::cuda) unwritten: Vec<Buf>,
}
