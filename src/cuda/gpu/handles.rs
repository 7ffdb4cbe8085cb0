//! Owners of the driver's objects, freed when dropped: the context, streams, memory, events, modules, graphs.
//!
//! Each keeps the context alive. Errors at a drop are ignored: they repeat errors of earlier work, which the calls that
//! waited for it have reported.

#![allow(unsafe_code, reason = "the driver is a C library")]

use std::{ffi::c_void, slice, sync::Arc};

use cudarc::driver::{DriverError, result, sys};

use crate::{Error, Result};

/// The error of a call that failed at `at`: a kernel, a size, a file.
pub(in crate::cuda) fn failed(call: &str, at: &str, error: DriverError) -> Error {
    use sys::CUresult as Code;
    let what_to_do = match error.0 {
        Code::CUDA_ERROR_NO_BINARY_FOR_GPU => "; the kernels were not compiled for this GPU",
        Code::CUDA_ERROR_INVALID_IMAGE | Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "; the kernels were compiled by a newer CUDA than the driver knows"
        }
        Code::CUDA_ERROR_DEVICE_UNAVAILABLE => "; another program has the GPU for itself",
        Code::CUDA_ERROR_ECC_UNCORRECTABLE => "; the GPU's memory is damaged: see nvidia-smi",
        Code::CUDA_ERROR_OUT_OF_MEMORY => "; another program uses the GPU's memory: see nvidia-smi",
        Code::CUDA_ERROR_ILLEGAL_ADDRESS
        | Code::CUDA_ERROR_MISALIGNED_ADDRESS
        | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | Code::CUDA_ERROR_LAUNCH_TIMEOUT => "; a kernel failed: set GALLOP_SYNC=1 to find the op",
        Code::CUDA_ERROR_NO_DEVICE
        | Code::CUDA_ERROR_INVALID_DEVICE
        | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | Code::CUDA_ERROR_LAUNCH_FAILED
        | Code::CUDA_ERROR_EXTERNAL_DEVICE
        | Code::CUDA_ERROR_UNKNOWN => {
            "; the GPU is lost, or a kernel brought it down: see nvidia-smi, and set GALLOP_SYNC=1 to find the op"
        }
        _ => "",
    };
    Error::device(format!("{call} failed at {at}: {:?}{what_to_do}", error.0))
}

/// A driver handle that any thread may use.
struct Pointer<T>(*mut T);

// SAFETY: the pointers are opaque handles; the driver locks the objects itself, and we never dereference them.
unsafe impl<T> Send for Pointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Pointer<T> {}

/// The primary context of a GPU, which every other handle belongs to.
pub(in crate::cuda) struct DriverContext {
    device: sys::CUdevice,
    context: Pointer<sys::CUctx_st>,
}

impl DriverContext {
    /// Call [`super::probe::gpus`] first: it checks that there is a driver.
    pub(in crate::cuda) fn of(ordinal: i32) -> Result<Arc<Self>> {
        let at = format!("cuda:{ordinal}");
        let device = result::device::get(ordinal).map_err(|e| failed("cuDeviceGet", &at, e))?;
        // SAFETY: `device` was returned by `device::get`.
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = context.map_err(|e| failed("cuDevicePrimaryCtxRetain", &at, e))?;
        Ok(Arc::new(Self {
            device,
            context: Pointer(context),
        }))
    }

    /// Makes it current for the calling thread, as most calls expect.
    pub(in crate::cuda) fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained until `self` is dropped.
        let result = unsafe { result::ctx::set_current(self.context.0) };
        result.map_err(|e| failed("cuCtxSetCurrent", "this thread", e))
    }

    pub(in crate::cuda) fn attribute(&self, which: sys::CUdevice_attribute) -> Result<i32> {
        // SAFETY: the device was returned by `device::get`.
        let value = unsafe { result::device::get_attribute(self.device, which) };
        value.map_err(|e| failed("cuDeviceGetAttribute", &format!("{which:?}"), e))
    }
}

impl Drop for DriverContext {
    fn drop(&mut self) {
        // SAFETY: retained once by `of`, released once here.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Gives an object back to the driver when it is dropped, on whatever thread that is.
macro_rules! dropped {
    ($type:ty, |$it:ident| $destroy:expr) => {
        impl Drop for $type {
            fn drop(&mut self) {
                let $it = self;
                if $it.context.enter().is_ok() {
                    // SAFETY: made once by the type's constructor, destroyed once here; the driver waits for the work
                    // that uses it.
                    let _ = unsafe { $destroy };
                }
            }
        }
    };
}

/// A queue of the GPU.
pub(in crate::cuda) struct DriverStream {
    context: Arc<DriverContext>,
    stream: Pointer<sys::CUstream_st>,
}

impl DriverStream {
    pub(in crate::cuda) fn create(context: &Arc<DriverContext>) -> Result<Self> {
        context.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        let stream = stream.map_err(|e| failed("cuStreamCreate", "start", e))?;
        Ok(Self {
            context: context.clone(),
            stream: Pointer(stream),
        })
    }

    /// The driver's handle, valid while `self` lives.
    pub(in crate::cuda) fn raw(&self) -> sys::CUstream {
        self.stream.0
    }

    pub(in crate::cuda) fn synchronize(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the stream lives until `self` is dropped.
        let result = unsafe { result::stream::synchronize(self.raw()) };
        result.map_err(|e| failed("cuStreamSynchronize", "the work before it", e))
    }
}

dropped!(DriverStream, |it| result::stream::destroy(it.raw()));

/// Device memory.
pub(in crate::cuda) struct Allocation {
    context: Arc<DriverContext>,
    pub(in crate::cuda) address: sys::CUdeviceptr,
}

impl Allocation {
    pub(in crate::cuda) fn of(
        context: &Arc<DriverContext>,
        bytes: usize,
        for_what: &str,
    ) -> Result<Self> {
        context.enter()?;
        // SAFETY: the content is written before it is read; see `Device::alloc`.
        let address = unsafe { result::malloc_sync(bytes.max(1)) };
        let address = address.map_err(|e| no_memory(e, "cuMemAlloc", bytes, for_what))?;
        Ok(Self {
            context: context.clone(),
            address,
        })
    }
}

dropped!(Allocation, |it| result::free_sync(it.address));

/// Pinned host memory, filled with zeros.
pub(in crate::cuda) struct PinnedBytes {
    context: Arc<DriverContext>,
    pointer: Pointer<u8>,
    bytes: usize,
}

impl PinnedBytes {
    pub(in crate::cuda) fn of(context: &Arc<DriverContext>, bytes: usize) -> Result<Self> {
        context.enter()?;
        // SAFETY: the bytes are set below, before they are read. No flags: write-combined memory is slow to read.
        let pointer = unsafe { result::malloc_host(bytes.max(1), 0) };
        let pointer: *mut u8 = pointer
            .map_err(|e| no_memory(e, "cuMemHostAlloc", bytes, "pinned host memory"))?
            .cast();
        // SAFETY: `bytes` bytes were allocated at `pointer`.
        unsafe { pointer.write_bytes(0, bytes) };
        Ok(Self {
            context: context.clone(),
            pointer: Pointer(pointer),
            bytes,
        })
    }
}

impl AsRef<[u8]> for PinnedBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `of` allocated and set `bytes` bytes, which live as long as `self`.
        unsafe { slice::from_raw_parts(self.pointer.0, self.bytes) }
    }
}

impl AsMut<[u8]> for PinnedBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_ref`; `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.pointer.0, self.bytes) }
    }
}

dropped!(PinnedBytes, |it| result::free_host(it.pointer.0.cast()));

fn no_memory(error: DriverError, call: &str, bytes: usize, for_what: &str) -> Error {
    if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return failed(call, &format!("{bytes} bytes for {for_what}"), error);
    }
    let free = result::mem_get_info().map_or(0, |(free, _)| free as u64);
    Error::Memory {
        need_bytes: bytes as u64,
        have_bytes: free,
        for_what: for_what.into(),
        hint: None,
    }
}

/// A point in a stream, with its time.
pub(in crate::cuda) struct EventHandle {
    context: Arc<DriverContext>,
    event: Pointer<sys::CUevent_st>,
}

impl EventHandle {
    pub(in crate::cuda) fn create(context: &Arc<DriverContext>) -> Result<Self> {
        context.enter()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = event.map_err(|e| failed("cuEventCreate", "start", e))?;
        Ok(Self {
            context: context.clone(),
            event: Pointer(event),
        })
    }

    pub(in crate::cuda) fn raw(&self) -> sys::CUevent {
        self.event.0
    }
}

dropped!(EventHandle, |it| result::event::destroy(it.raw()));

/// A loaded cubin.
pub(in crate::cuda) struct Module {
    context: Arc<DriverContext>,
    module: Pointer<sys::CUmod_st>,
}

impl Module {
    /// `cubin` must be a whole one, as [`super::cubins::cubin`] gives it.
    pub(in crate::cuda) fn load(
        context: &Arc<DriverContext>,
        name: &str,
        cubin: &[u8],
    ) -> Result<Self> {
        context.enter()?;
        // SAFETY: all sections that the image names lie inside it, which was checked when it was read.
        let module = unsafe { result::module::load_data(cubin.as_ptr().cast::<c_void>()) };
        let module = module.map_err(|e| failed("cuModuleLoadData", &format!("{name}.cubin"), e))?;
        Ok(Self {
            context: context.clone(),
            module: Pointer(module),
        })
    }

    /// An entry point, valid while `self` lives.
    pub(in crate::cuda) fn function(&self, name: &'static str) -> Result<Function> {
        let symbol = std::ffi::CString::new(name)
            .map_err(|_| Error::device(format!("`{name}` is no name")))?;
        // SAFETY: the module is loaded until `self` is dropped.
        let function = unsafe { result::module::get_function(self.module.0, symbol) };
        let function = function.map_err(|e| failed("cuModuleGetFunction", name, e))?;
        Ok(Function(Pointer(function)))
    }
}

dropped!(Module, |it| result::module::unload(it.module.0));

/// An entry point; its holder keeps the [`Module`] loaded.
pub(in crate::cuda) struct Function(Pointer<sys::CUfunc_st>);

impl Function {
    pub(in crate::cuda) fn raw(&self) -> sys::CUfunction {
        self.0.0
    }
}

/// Captured launches, ready to be enqueued.
pub(in crate::cuda) struct GraphHandle {
    context: Arc<DriverContext>,
    executable: Pointer<sys::CUgraphExec_st>,
}

impl GraphHandle {
    /// Instantiates a captured graph and frees the captured one.
    pub(in crate::cuda) fn instantiate(
        context: &Arc<DriverContext>,
        graph: sys::CUgraph,
    ) -> Result<Self> {
        let flags = sys::CUgraphInstantiate_flags_enum(0);
        // SAFETY: `graph` was returned by the end of a capture and is destroyed only below.
        let executable = unsafe { result::graph::instantiate(graph, flags) };
        // SAFETY: as above; an executable graph does not need it any more.
        let _ = unsafe { result::graph::destroy(graph) };
        let executable =
            executable.map_err(|e| failed("cuGraphInstantiate", "a captured graph", e))?;
        Ok(Self {
            context: context.clone(),
            executable: Pointer(executable),
        })
    }

    pub(in crate::cuda) fn raw(&self) -> sys::CUgraphExec {
        self.executable.0
    }
}

dropped!(GraphHandle, |it| result::graph::exec_destroy(it.raw()));
