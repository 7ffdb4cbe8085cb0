//! GEMMs by a library instead of our own kernel: what an executor needs of it, and when it is used.

#![allow(
    unsafe_code,
    reason = "GEMMs are enqueued with raw addresses, as kernels are"
)]

use std::sync::Arc;

use super::cublaslt::{self, CublasLt, GemmDesc, Operands};
use crate::Result;

/// Which implementation computes GEMMs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum GemmChoice {
    /// Our own kernel.
    #[default]
    Own,
    /// The library wherever it can, even where our own kernel would fuse steps.
    CublasLt,
    /// The faster for each shape, timed once when a plan is prepared; our own on a tie or without a library.
    Auto,
}

/// A GEMM library on one device.
pub trait GemmBackend: Send + Sync {
    /// Algorithms for a GEMM, by the library's heuristics the fastest first.
    ///
    /// # Errors
    /// [`crate::Error::Device`] with the rule that the sizes or addresses break, or if there is no algorithm.
    fn algorithms(
        self: Arc<Self>,
        gemm: &GemmDesc,
        at: &Operands,
    ) -> Result<Vec<Arc<dyn GemmAlgorithm>>>;
}

/// An algorithm for a GEMM at fixed addresses.
pub trait GemmAlgorithm: Send + Sync {
    /// The library's name, for reports.
    fn name(&self) -> &'static str;

    /// Enqueues it on the compute stream.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the library refuses.
    ///
    /// # Safety
    /// The GEMM's addresses must be live memory of the device, as large as its sizes and pitches say.
    unsafe fn enqueue(&self) -> Result<()>;
}

impl GemmBackend for CublasLt {
    fn algorithms(
        self: Arc<Self>,
        gemm: &GemmDesc,
        at: &Operands,
    ) -> Result<Vec<Arc<dyn GemmAlgorithm>>> {
        let prepared = Arc::new(self.prepare(*gemm, *at)?);
        let wrap = |algorithm| {
            let (library, prepared) = (self.clone(), prepared.clone());
            Arc::new(CublasLtAlgorithm {
                library,
                prepared,
                algorithm,
            }) as Arc<dyn GemmAlgorithm>
        };
        Ok(self.heuristics(&prepared)?.into_iter().map(wrap).collect())
    }
}

struct CublasLtAlgorithm {
    library: Arc<CublasLt>,
    prepared: Arc<cublaslt::PreparedGemm>,
    algorithm: cublaslt::Algorithm,
}

impl GemmAlgorithm for CublasLtAlgorithm {
    fn name(&self) -> &'static str {
        self.prepared.name()
    }

    unsafe fn enqueue(&self) -> Result<()> {
        // SAFETY: the algorithm is one for this GEMM; the memory is the caller's promise.
        unsafe { self.library.enqueue(&self.prepared, &self.algorithm) }
    }
}

/// A library, and when to use it.
#[derive(Clone)]
pub struct GemmPolicy {
    /// The library.
    pub backend: Arc<dyn GemmBackend>,
    /// When to use it.
    pub choice: GemmChoice,
}
