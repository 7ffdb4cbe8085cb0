//! GEMMs by cuBLASLt: bf16, and fp8 with one scale per row of activations and per channel of weights.
//!
//! All tensors are row-major; cuBLASLt is column-major and sees them transposed: for y = x wᵀ it computes yᵀ = w xᵀ,
//! with the weights as its matrix A. A GEMM is described once, when a plan is prepared ([`CublasLt::prepare`]), its
//! algorithms are timed once ([`fastest`]), and from then on it is only enqueued.

#![allow(unsafe_code, reason = "cuBLASLt is a C library")]

use std::{ffi::c_void, mem::MaybeUninit, ptr, sync::Arc};

use cudarc::cublaslt::{
    result::{self, CublasError},
    sys::{self, cublasLtMatmulDescAttributes_t as Attribute},
};

use super::{
    cublaslt_library::open_library,
    device::{Device, Memory},
    driver::Driver,
};
use crate::{Error, Result};

/// NVIDIA's recommendation for Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;
/// Algorithms that the heuristics are asked for.
const CANDIDATES: usize = 16;

/// `CUBLAS_OP_N` and `CUBLAS_OP_T` of `cublasOperation_t`, an int that cuBLASLt's own header lacks.
const AS_IT_IS: i32 = 0;
const TRANSPOSED: i32 = 1;

/// Types of a GEMM's operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OperandType {
    /// Both bf16.
    Bf16,
    /// Both e4m3, with scales.
    E4m3 {
        /// Accumulate in the tensor cores' 14 bits, without promoting partial sums to f32.
        fast: bool,
    },
}

/// Type of a GEMM's result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OutputType {
    /// bf16.
    Bf16,
    /// f32.
    F32,
}

/// y[m, n] = x[m, k] · w[n, k]ᵀ, or y += that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GemmDesc {
    /// Rows of x and y.
    pub m: usize,
    /// Rows of w, columns of y.
    pub n: usize,
    /// Columns of x and w.
    pub k: usize,
    /// Elements from one row of x to the next.
    pub x_pitch: usize,
    /// Elements from one row of w to the next.
    pub w_pitch: usize,
    /// Elements from one row of y to the next.
    pub y_pitch: usize,
    /// Types of x and w.
    pub operands: OperandType,
    /// Type of y.
    pub output: OutputType,
}

/// Device addresses of a GEMM's operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operands {
    /// Activations.
    pub x: u64,
    /// Weights.
    pub w: u64,
    /// Result.
    pub y: u64,
    /// For e4m3: f32 scales `[m]` of the rows of x.
    pub x_scales: u64,
    /// For e4m3: f32 scales `[n]` of the rows of w.
    pub w_scales: u64,
}

impl GemmDesc {
    /// The rule of the library that this breaks; its own errors do not name it.
    fn problem(&self, at: &Operands) -> Option<String> {
        let Self { m, n, k, .. } = *self;
        let (operand_bytes, is_e4m3) = match self.operands {
            OperandType::Bf16 => (2, false),
            OperandType::E4m3 { .. } => (1, true),
        };
        let y_bytes = if self.output == OutputType::F32 { 4 } else { 2 };
        let sizes = [m, n, k, self.x_pitch, self.w_pitch, self.y_pitch];
        if sizes
            .iter()
            .any(|&size| size == 0 || size > i32::MAX as usize)
        {
            return Some("sizes must be 1 to 2147483647".into());
        }
        if self.x_pitch < k || self.w_pitch < k || self.y_pitch < n {
            return Some("a row is longer than its pitch".into());
        }
        let pitches = [
            self.x_pitch * operand_bytes,
            self.w_pitch * operand_bytes,
            self.y_pitch * y_bytes,
        ];
        if let Some(pitch) = pitches.iter().find(|&&pitch| pitch % 16 != 0) {
            return Some(format!("a pitch of {pitch} bytes is no multiple of 16"));
        }
        if is_e4m3 && (k % 16 != 0 || n * y_bytes % 16 != 0) {
            return Some(
                "rows of an fp8 GEMM's operands and result must be multiples of 16 bytes: pad them with zeros".into(),
            );
        }
        let mut addresses = vec![at.x, at.w, at.y];
        if is_e4m3 {
            addresses.extend([at.x_scales, at.w_scales]);
        }
        let bad = addresses
            .iter()
            .find(|&&address| address == 0 || address % 16 != 0)?;
        Some(format!(
            "address {bad:#x} must be a multiple of 16, and not 0"
        ))
    }

    fn operand_type(&self) -> sys::cudaDataType {
        match self.operands {
            OperandType::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            OperandType::E4m3 { .. } => sys::cudaDataType::CUDA_R_8F_E4M3,
        }
    }

    fn output_type(&self) -> sys::cudaDataType {
        match self.output {
            OutputType::Bf16 => sys::cudaDataType::CUDA_R_16BF,
            OutputType::F32 => sys::cudaDataType::CUDA_R_32F,
        }
    }
}

/// The library, on one GPU.
pub struct CublasLt {
    handle: LibraryHandle,
    workspace: Memory,
    driver: Arc<Driver>,
}

/// A GEMM with its addresses, ready to be enqueued.
pub struct PreparedGemm {
    gemm: GemmDesc,
    operands: Operands,
    operation: Operation,
    x: Layout,
    w: Layout,
    y: Layout,
}

impl PreparedGemm {
    /// The kernel's name in reports.
    pub fn name(&self) -> &'static str {
        match self.gemm.operands {
            OperandType::Bf16 => "cublaslt_bf16",
            OperandType::E4m3 { .. } => "cublaslt_fp8",
        }
    }
}

/// One of the library's algorithms for a [`PreparedGemm`].
#[derive(Clone, Copy)]
pub struct Algorithm(sys::cublasLtMatmulAlgo_t);

impl CublasLt {
    /// Opens the library, as [`open_library`] finds it, and allocates its workspace of 32 MB.
    ///
    /// # Errors
    /// [`Error::Device`] if there is none, if it is too old, or if it fails; [`Error::Memory`].
    pub fn open(driver: &Arc<Driver>, search: &[std::path::PathBuf]) -> Result<Self> {
        open_library(search)?;
        driver.enter()?;
        let handle =
            result::create_handle().map_err(|e| failed("cublasLtCreate", &driver.name(), e))?;
        Ok(Self {
            handle: LibraryHandle(handle),
            workspace: driver.alloc(WORKSPACE_BYTES, "the workspace of cuBLASLt")?,
            driver: driver.clone(),
        })
    }

    /// Describes a GEMM to the library.
    ///
    /// # Errors
    /// [`Error::Device`] with the rule that the sizes or addresses break.
    pub fn prepare(&self, gemm: GemmDesc, operands: Operands) -> Result<PreparedGemm> {
        if let Some(problem) = gemm.problem(&operands) {
            return Err(Error::device(format!(
                "cuBLASLt cannot compute {gemm:?}: {problem}"
            )));
        }
        let GemmDesc { m, n, k, .. } = gemm;
        let operation = Operation::create()?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED)?;
        operation.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &AS_IT_IS)?;
        if let OperandType::E4m3 { fast } = gemm.operands {
            let per_row =
                sys::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &per_row)?;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &per_row)?;
            operation.set(
                Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER,
                &operands.w_scales,
            )?;
            operation.set(
                Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
                &operands.x_scales,
            )?;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_FAST_ACCUM, &i8::from(fast))?;
        }
        Ok(PreparedGemm {
            operation,
            x: Layout::create(gemm.operand_type(), [m, k], gemm.x_pitch)?,
            w: Layout::create(gemm.operand_type(), [n, k], gemm.w_pitch)?,
            y: Layout::create(gemm.output_type(), [m, n], gemm.y_pitch)?,
            gemm,
            operands,
        })
    }

    /// The library's algorithms for a GEMM, by its heuristics the fastest first. Some may still be refused when they run.
    ///
    /// # Errors
    /// [`Error::Device`] if there are none.
    pub fn heuristics(&self, prepared: &PreparedGemm) -> Result<Vec<Algorithm>> {
        self.driver.enter()?;
        let preference = Preference::create(&prepared.operands)?;
        let mut found =
            [const { MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::uninit() }; CANDIDATES];
        let mut count = 0;
        // SAFETY: all descriptors live as long as the borrows; the array has room for CANDIDATES entries.
        let status = unsafe {
            sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle.0,
                prepared.operation.0,
                prepared.w.0,
                prepared.x.0,
                prepared.y.0,
                prepared.y.0,
                preference.0,
                CANDIDATES as i32,
                found.as_mut_ptr().cast(),
                &raw mut count,
            )
        };
        let at = format!("{:?}", prepared.gemm);
        status
            .result()
            .map_err(|e| failed("cublasLtMatmulAlgoGetHeuristic", &at, e))?;
        let found = found
            .iter()
            .take(usize::try_from(count).unwrap_or(0))
            .map(|result| {
                // SAFETY: the library filled the first `count` entries.
                unsafe { result.assume_init_ref() }
            });
        let usable =
            found.filter(|result| result.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        let algorithms: Vec<Algorithm> = usable.map(|result| Algorithm(result.algo)).collect();
        if algorithms.is_empty() {
            return Err(Error::device(format!("cuBLASLt has no algorithm for {at}")));
        }
        Ok(algorithms)
    }

    /// Enqueues a GEMM on the compute stream.
    ///
    /// # Errors
    /// [`Error::Device`] if the library refuses.
    ///
    /// # Safety
    /// The GEMM's addresses must be live memory of this GPU, as large as its sizes and pitches say; `algorithm` must be
    /// one for this GEMM.
    pub unsafe fn enqueue(&self, prepared: &PreparedGemm, algorithm: &Algorithm) -> Result<()> {
        self.driver.enter()?;
        let PreparedGemm { gemm, operands, .. } = prepared;
        let (alpha, beta) = (1.0_f32, 0.0_f32);
        let workspace = self.workspace.start();
        let y = pointer(operands.y);
        // SAFETY: descriptors, handle and workspace live as long as the borrows; alpha and beta are read during the
        // call; the operands are the caller's promise.
        let result = unsafe {
            result::matmul(
                self.handle.0,
                prepared.operation.0,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                pointer(operands.w),
                prepared.w.0,
                pointer(operands.x),
                prepared.x.0,
                y,
                prepared.y.0,
                y,
                prepared.y.0,
                &raw const algorithm.0,
                pointer(workspace),
                WORKSPACE_BYTES,
                self.driver.compute_stream().cast(),
            )
        };
        result.map_err(|e| failed("cublasLtMatmul", &format!("{gemm:?}"), e))
    }
}

/// The fastest candidate, and its time. Candidates that fail are skipped: cuBLASLt refuses some combinations only when
/// they run.
///
/// # Errors
/// The last candidate's error if all fail.
pub fn fastest<T>(
    candidates: Vec<T>,
    mut time_ms: impl FnMut(&T) -> Result<f32>,
) -> Result<(T, f32)> {
    let mut best: Option<(T, f32)> = None;
    let mut failure = Error::device("there is nothing to choose from");
    for candidate in candidates {
        match time_ms(&candidate) {
            Ok(ms) if best.as_ref().is_none_or(|&(_, least)| ms < least) => {
                best = Some((candidate, ms));
            }
            Ok(_) => {}
            Err(error) => failure = error,
        }
    }
    best.ok_or(failure)
}

fn pointer(address: u64) -> *mut c_void {
    ptr::without_provenance_mut(address as usize)
}

fn failed(call: &str, at: &str, error: CublasError) -> Error {
    Error::device(format!("{call} failed at {at}: {:?}", error.0))
}

/// Defines an owner of one of the library's objects.
macro_rules! owner {
    ($(#[$doc:meta])* $name:ident($type:ty), $destroy:path) => {
        $(#[$doc])*
        struct $name($type);

        // SAFETY: the library's objects belong to no thread; they are not changed once they are described.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: created by the library for this owner, destroyed once here.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

owner!(
    /// The library's state on one GPU.
    LibraryHandle(sys::cublasLtHandle_t), result::destroy_handle
);
owner!(
    /// The operation: transpositions, scales.
    Operation(sys::cublasLtMatmulDesc_t), result::destroy_matmul_desc
);
owner!(
    /// Type and layout of a matrix.
    Layout(sys::cublasLtMatrixLayout_t), result::destroy_matrix_layout
);
owner!(
    /// Limits of the search for algorithms.
    Preference(sys::cublasLtMatmulPreference_t), result::destroy_matmul_pref
);

impl Operation {
    /// Computes and scales in f32.
    fn create() -> Result<Self> {
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        let operation = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F);
        Ok(Self(operation.map_err(|e| {
            failed("cublasLtMatmulDescCreate", "f32 sums", e)
        })?))
    }

    /// `value` must have the type that the library documents for the attribute.
    fn set<T>(&self, attribute: Attribute, value: &T) -> Result<()> {
        let (size, value) = (size_of::<T>(), ptr::from_ref(value).cast());
        // SAFETY: the operation lives; the library copies as many bytes as `value` has, and checks their number.
        let result = unsafe { result::set_matmul_desc_attribute(self.0, attribute, value, size) };
        let at = format!("{attribute:?}");
        result.map_err(|e| failed("cublasLtMatmulDescSetAttribute", &at, e))
    }
}

impl Layout {
    /// A row-major matrix `[rows, cols]`, which the library sees as its transpose.
    fn create(element: sys::cudaDataType, [rows, cols]: [usize; 2], pitch: usize) -> Result<Self> {
        let layout = result::create_matrix_layout(element, cols as u64, rows as u64, pitch as i64);
        let at = format!("[{rows}, {cols}]");
        Ok(Self(layout.map_err(|e| {
            failed("cublasLtMatrixLayoutCreate", &at, e)
        })?))
    }
}

impl Preference {
    /// For algorithms that need no more workspace and alignment than there is.
    fn create(at: &Operands) -> Result<Self> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = result::create_matmul_pref();
        let preference =
            Self(preference.map_err(|e| failed("cublasLtMatmulPreferenceCreate", "start", e))?);
        preference.set(
            Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            &(WORKSPACE_BYTES as u64),
        )?;
        for (attribute, address) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, at.w),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, at.x),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, at.y),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, at.y),
        ] {
            // The default is 256 bytes, but a group's first row need not be aligned so.
            preference.set(attribute, &(1_u32 << address.trailing_zeros().min(8)))?;
        }
        Ok(preference)
    }

    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> Result<()> {
        let (size, value) = (size_of::<T>(), ptr::from_ref(value).cast());
        // SAFETY: the preference lives, and the library copies the value, whose type is the attribute's.
        let result = unsafe { result::set_matmul_pref_attribute(self.0, attribute, value, size) };
        let at = format!("{attribute:?}");
        result.map_err(|e| failed("cublasLtMatmulPreferenceSetAttribute", &at, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: GemmDesc = GemmDesc {
        m: 4352,
        n: 5120,
        k: 13696,
        x_pitch: 13696,
        w_pitch: 13696,
        y_pitch: 5120,
        operands: OperandType::E4m3 { fast: false },
        output: OutputType::Bf16,
    };
    const AT: Operands = Operands {
        x: 256,
        w: 512,
        y: 1024,
        x_scales: 2048,
        w_scales: 4096,
    };

    #[test]
    fn gemms_that_the_library_would_refuse_are_refused_with_the_rule() {
        assert_eq!(DOWN.problem(&AT), None);
        let bad = |gemm: GemmDesc, at: Operands, words: &str| {
            let why = gemm.problem(&at).unwrap();
            assert!(why.contains(words), "{why}");
        };
        bad(GemmDesc { m: 0, ..DOWN }, AT, "sizes must be");
        bad(
            GemmDesc {
                k: usize::MAX,
                ..DOWN
            },
            AT,
            "sizes must be",
        );
        bad(GemmDesc { k: 13712, ..DOWN }, AT, "longer than its pitch");
        bad(GemmDesc { k: 13652, ..DOWN }, AT, "multiples of 16 bytes");
        bad(
            GemmDesc {
                y_pitch: 5124,
                ..DOWN
            },
            AT,
            "10248 bytes",
        );
        bad(DOWN, Operands { x: 264, ..AT }, "0x108");
        bad(DOWN, Operands { x_scales: 0, ..AT }, "not 0");
        let bf16 = GemmDesc {
            operands: OperandType::Bf16,
            k: 13652,
            m: 1,
            ..DOWN
        };
        assert_eq!(
            bf16.problem(&Operands {
                x_scales: 0,
                w_scales: 0,
                ..AT
            }),
            None
        );
    }

    #[test]
    fn the_least_time_wins_and_refusals_are_passed_over() {
        let times = [Some(3.0), None, Some(1.0), Some(2.0)];
        let time =
            |&index: &usize| times[index].ok_or_else(|| Error::device(format!("{index} refused")));
        assert_eq!(fastest(vec![0, 1, 2, 3], time).unwrap(), (2, 1.0));
        assert_eq!(fastest(vec![1], time).unwrap_err().to_string(), "1 refused");
        assert!(
            fastest(Vec::<usize>::new(), time)
                .unwrap_err()
                .to_string()
                .contains("nothing to choose")
        );
    }
}
