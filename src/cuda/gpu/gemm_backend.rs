//! Matrix products by a library beside our own kernel: what an executor needs of it, and when it is used.

#![allow(
    unsafe_code,
    reason = "products are queued with addresses, as kernels are"
)]

use std::sync::Arc;

use super::cublaslt::{self, CublasLt, GemmDesc, Operands};
use crate::Result;

/// Who computes matrix products.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum GemmChoice {
    /// Our own kernel.
    #[default]
    Own,
    /// The library wherever it can, in place of fused steps too.
    CublasLt,
    /// Where there is a library, whoever is faster for the shape, measured once at prepare; ours if both are.
    Auto,
}

/// A library of matrix products on one device.
pub trait GemmBackend: Send + Sync {
    /// The library's ways to compute a product, the one it thinks fastest first.
    ///
    /// # Errors
    /// [`crate::Error::Device`] with the rule that the sizes or addresses break, or if there is none.
    fn algorithms(
        self: Arc<Self>,
        gemm: &GemmDesc,
        at: &Operands,
    ) -> Result<Vec<Arc<dyn GemmAlgorithm>>>;
}

/// One way to compute a product at its addresses.
pub trait GemmAlgorithm: Send + Sync {
    /// The library's name, for reports.
    fn name(&self) -> &'static str;

    /// Queues it on the compute queue.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the library refuses.
    ///
    /// # Safety
    /// The product's addresses must be live memory of the device, as large as its sizes and pitches say.
    unsafe fn queue(&self) -> Result<()>;
}

impl GemmBackend for CublasLt {
    fn algorithms(
        self: Arc<Self>,
        gemm: &GemmDesc,
        at: &Operands,
    ) -> Result<Vec<Arc<dyn GemmAlgorithm>>> {
        let product = Arc::new(self.product(*gemm, *at)?);
        let wrap = |algorithm| {
            let (library, product) = (self.clone(), product.clone());
            Arc::new(CublasLtAlgorithm {
                library,
                product,
                algorithm,
            }) as Arc<dyn GemmAlgorithm>
        };
        Ok(self.heuristics(&product)?.into_iter().map(wrap).collect())
    }
}

struct CublasLtAlgorithm {
    library: Arc<CublasLt>,
    product: Arc<cublaslt::PreparedGemm>,
    algorithm: cublaslt::Algorithm,
}

impl GemmAlgorithm for CublasLtAlgorithm {
    fn name(&self) -> &'static str {
        self.product.name()
    }

    unsafe fn queue(&self) -> Result<()> {
        // SAFETY: the algorithm is one of this product; the rest is the caller's promise.
        unsafe { self.library.multiply(&self.product, &self.algorithm) }
    }
}

/// A library and what it is to be used for.
#[derive(Clone)]
pub struct GemmPolicy {
    pub(in crate::cuda) backend: Arc<dyn GemmBackend>,
    pub(in crate::cuda) choice: GemmChoice,
}

impl GemmPolicy {
    /// `backend`, used as `choice` says.
    pub fn new(backend: Arc<dyn GemmBackend>, choice: GemmChoice) -> Self {
        Self { backend, choice }
    }
}
