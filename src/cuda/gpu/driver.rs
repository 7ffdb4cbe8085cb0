//! A GPU through the CUDA driver.
//!
//! It holds the primary context, a compute stream and a copy stream ordered only by events, and all kernels, which are
//! loaded and checked when it is opened. Only functions that say so allocate device memory.

#![allow(unsafe_code, reason = "the driver is a C library")]

use std::{collections::HashMap, ops::Range, path::Path, ptr, sync::Arc};

use cudarc::driver::{
    DriverError, result,
    sys::{
        self, CUdevice_attribute_enum as Attribute, CUfunction_attribute_enum as FunctionAttribute,
    },
};

use super::{
    arguments::{Kernel, pointers},
    cubins,
    device::{Device, Event, Graph, Launch, Memory, Pinned, Stream},
    handles::{
        Allocation, DriverContext, DriverStream, EventHandle, Function, GraphHandle, Module,
        PinnedBytes, failed,
    },
    kernels::KERNELS,
    probe::{GpuInfo, gpus},
    tensor_map::{Element, Swizzle, TensorMap, TensorMapSpec},
};
use crate::{Error, Result, error::Hint};

/// What the kernels are compiled for.
const COMPUTE_CAPABILITY: (u32, u32) = (9, 0);
/// The CUDA release that the cubins were built with: older drivers cannot load them.
const OLDEST_DRIVER: (u32, u32) = (13, 0);
/// Dynamic shared memory that a function may use without opting in to more.
const PLAIN_SHARED_BYTES: u32 = 48 * 1024;

/// A Hopper GPU with its kernels loaded.
pub struct Driver {
    // Dropped before the modules: their work must end first.
    compute: DriverStream,
    copy: DriverStream,
    functions: HashMap<Kernel, Function>,
    _modules: Vec<Module>,
    context: Arc<DriverContext>,
    gpu: GpuInfo,
    ordinal: usize,
    num_sms: u32,
}

impl Driver {
    /// Opens GPU `ordinal` and loads all kernels: each from the folder of cubins `kernels` if it is there, else as compiled
    /// in.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no driver or no such GPU, if the kernels do not run on it, if the driver is too old
    /// or fails, or if no kernels were compiled in.
    pub fn open(ordinal: usize, kernels: Option<&Path>) -> Result<Self> {
        let gpus = gpus().map_err(Error::device)?;
        let gpu = gpus.get(ordinal).cloned().ok_or_else(|| {
            Error::device(format!(
                "there is no cuda:{ordinal}; the last is cuda:{}",
                gpus.len() - 1
            ))
        })?;
        check_requirements(&gpu)?;
        let context = DriverContext::of(i32::try_from(ordinal).unwrap_or(i32::MAX))?;
        let (modules, functions) = load(&context, kernels)?;
        Ok(Self {
            compute: DriverStream::create(&context)?,
            copy: DriverStream::create(&context)?,
            functions,
            _modules: modules,
            num_sms: context
                .attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?
                .unsigned_abs(),
            context,
            gpu,
            ordinal,
        })
    }

    /// The GPU as its driver describes it.
    pub fn gpu(&self) -> &GpuInfo {
        &self.gpu
    }

    /// The compute stream, for libraries that enqueue their own kernels; valid while `self` lives.
    pub(in crate::cuda) fn compute_stream(&self) -> sys::CUstream {
        self.compute.raw()
    }

    /// Makes the GPU's context current for the calling thread, as such libraries expect.
    pub(in crate::cuda) fn enter(&self) -> Result<()> {
        self.context.enter()
    }

    fn stream(&self, stream: Stream) -> &DriverStream {
        match stream {
            Stream::Compute => &self.compute,
            Stream::Copy => &self.copy,
        }
    }

    /// Ends a capture, failed or not, so that the stream can be used again.
    fn end_capture(&self) -> Result<sys::CUgraph> {
        // SAFETY: the stream lives, and `capture` began the capture on it.
        let graph = unsafe { result::stream::end_capture(self.compute.raw()) };
        graph.map_err(|e| failed("cuStreamEndCapture", "a captured graph", e))
    }
}

/// Whether the kernels can run on a GPU.
fn check_requirements(gpu: &GpuInfo) -> Result<()> {
    let (need, have) = (COMPUTE_CAPABILITY, gpu.compute_capability);
    if have != need {
        let problem = format!(
            "{} has compute capability {}.{}; the kernels need {}.{} (H100, H200)",
            gpu.name, have.0, have.1, need.0, need.1
        );
        return Err(Error::device(problem).with_hint(Hint::USE_CPU));
    }
    let (need, have) = (OLDEST_DRIVER, gpu.driver_version);
    if have < need {
        return Err(Error::device(format!(
            "the NVIDIA driver supports CUDA {}.{}; {}.{} is needed: install driver 580 or newer",
            have.0, have.1, need.0, need.1
        )));
    }
    Ok(())
}

/// All entry points that `build.rs` found.
fn load(
    context: &Arc<DriverContext>,
    folder: Option<&Path>,
) -> Result<(Vec<Module>, HashMap<Kernel, Function>)> {
    let (mut modules, mut functions): (Vec<Module>, _) = (Vec::new(), HashMap::new());
    for of_file in KERNELS.chunk_by(|a, b| a.module == b.module) {
        let name = of_file[0].module;
        let module = Module::load(context, name, &cubins::cubin(name, folder)?)?;
        for kernel in of_file {
            let function = module.function(kernel.name)?;
            check_function(kernel, &function)?;
            functions.insert(*kernel, function);
        }
        modules.push(module);
    }
    Ok((modules, functions))
}

/// Refuses a kernel that spills registers, or that was compiled for another block size than Rust launches.
fn check_function(kernel: &Kernel, function: &Function) -> Result<()> {
    let attribute = |which: FunctionAttribute| {
        // SAFETY: the function's module is loaded.
        let value = unsafe { result::function::get_function_attribute(function.raw(), which) };
        value.map_err(|e| failed("cuFuncGetAttribute", kernel.name, e))
    };
    let local_bytes = attribute(FunctionAttribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?;
    let threads = attribute(FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?;
    if local_bytes > 0 {
        return Err(Error::device(format!(
            "`{}` spills {local_bytes} bytes per thread; compile it again",
            kernel.name
        )));
    }
    if threads.unsigned_abs() < kernel.threads {
        return Err(Error::device(format!(
            "`{}` was compiled for {threads} threads; this program launches {}",
            kernel.name, kernel.threads
        )));
    }
    Ok(())
}

/// The message for a failed copy or fill.
fn copying(call: &'static str, bytes: usize) -> impl FnOnce(DriverError) -> Error {
    move |error| failed(call, &format!("{bytes} bytes"), error)
}

impl Device for Driver {
    fn name(&self) -> String {
        format!("{} (cuda:{})", self.gpu.name, self.ordinal)
    }

    fn capability(&self) -> (u32, u32) {
        self.gpu.compute_capability
    }

    fn num_sms(&self) -> u32 {
        self.num_sms
    }

    fn free_bytes(&self) -> Result<u64> {
        self.context.enter()?;
        let (free, _) =
            result::mem_get_info().map_err(|e| failed("cuMemGetInfo", &self.name(), e))?;
        Ok(free as u64)
    }

    fn alloc(&self, bytes: usize, for_what: &str) -> Result<Memory> {
        let allocation = Allocation::of(&self.context, bytes, for_what)?;
        // SAFETY: `allocation` owns `bytes` bytes at its address.
        Ok(unsafe { Memory::new(allocation.address, bytes, allocation) })
    }

    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>> {
        Ok(Box::new(PinnedBytes::of(&self.context, bytes)?))
    }

    fn fill(&self, to: &Memory, part: Range<usize>, value: u8) -> Result<()> {
        self.context.enter()?;
        let (bytes, address) = (part.len(), to.address(part));
        // SAFETY: the part lies inside `to`, which frees itself only behind this work.
        let result = unsafe { result::memset_d8_async(address, value, bytes, self.compute.raw()) };
        result.map_err(copying("cuMemsetD8Async", bytes))
    }

    fn h2d(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        self.context.enter()?;
        let address = to.address(offset..offset + from.len());
        // SAFETY: the bytes fit inside `to`; `from` is borrowed until the copy is done, which is waited for below.
        let result = unsafe { result::memcpy_htod_async(address, from, self.compute.raw()) };
        let waited = self.compute.synchronize();
        result
            .map_err(copying("cuMemcpyHtoDAsync", from.len()))
            .and(waited)
    }

    fn d2h(&self, from: &Memory, offset: usize, to: &mut [u8]) -> Result<()> {
        self.context.enter()?;
        let address = from.address(offset..offset + to.len());
        // SAFETY: the bytes lie inside `from`; `to` is borrowed until the copy is done, which is waited for below.
        let result = unsafe { result::memcpy_dtoh_async(to, address, self.compute.raw()) };
        let waited = self.compute.synchronize();
        result
            .map_err(copying("cuMemcpyDtoHAsync", to.len()))
            .and(waited)
    }

    unsafe fn h2d_async(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        self.context.enter()?;
        let address = to.address(offset..offset + from.len());
        // SAFETY: the bytes fit inside `to`; the caller keeps `from` until the copy is done.
        let result = unsafe { result::memcpy_htod_async(address, from, self.copy.raw()) };
        result.map_err(copying("cuMemcpyHtoDAsync", from.len()))
    }

    fn tensor_map(&self, spec: &TensorMapSpec) -> Result<TensorMap> {
        spec.check()?;
        // The driver counts axes from the innermost.
        let sizes: Vec<u64> = spec.sizes.iter().rev().copied().collect();
        let strides: Vec<u64> = spec.strides_bytes.iter().rev().copied().collect();
        let box_sizes: Vec<u32> = spec.box_sizes.iter().rev().copied().collect();
        let element_strides = vec![1_u32; sizes.len()];
        let mut map = TensorMap([0; 128]);
        // SAFETY: `map` has the size and alignment of a tensor map (see `TensorMap`); the arrays have as many entries
        // as the rank says, the strides one less, which `check` made sure of. The address is only written down.
        let result = unsafe {
            sys::cuTensorMapEncodeTiled(
                (&raw mut map).cast(),
                element_code(spec.element),
                sizes.len() as u32,
                ptr::without_provenance_mut(spec.address as usize),
                sizes.as_ptr(),
                strides.as_ptr(),
                box_sizes.as_ptr(),
                element_strides.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle_code(spec.swizzle),
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        result
            .result()
            .map_err(|e| failed("cuTensorMapEncodeTiled", &format!("{spec:?}"), e))?;
        Ok(map)
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<()> {
        let kernel = launch.kernel();
        let function = self.functions.get(&kernel).ok_or_else(|| {
            Error::device(format!("`{}` is not among the loaded kernels", kernel.name))
        })?;
        self.context.enter()?;
        if launch.shared_bytes() > PLAIN_SHARED_BYTES {
            let most = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function's module is loaded.
            let result = unsafe {
                result::function::set_function_attribute(
                    function.raw(),
                    most,
                    launch.shared_bytes().cast_signed(),
                )
            };
            result.map_err(|e| failed("cuFuncSetAttribute", &launch.to_string(), e))?;
        }
        let [x, y, z] = launch.blocks();
        let mut pointers = pointers(launch.args());
        // SAFETY: the function's module is loaded; the arguments have the number, types and order of its signature,
        // because `build.rs` made them from it, and the driver copies them before it returns. What they point to is
        // the caller's promise.
        let result = unsafe {
            result::launch_kernel(
                function.raw(),
                (x, y, z),
                (kernel.threads, 1, 1),
                launch.shared_bytes(),
                self.compute.raw(),
                &mut pointers,
            )
        };
        result.map_err(|e| failed("cuLaunchKernel", &launch.to_string(), e))
    }

    fn event(&self) -> Result<Event> {
        Ok(Event::new(EventHandle::create(&self.context)?))
    }

    fn record(&self, event: &Event, stream: Stream) -> Result<()> {
        let event: &EventHandle = event.of()?;
        self.context.enter()?;
        // SAFETY: event and stream live as long as the two borrows.
        let result = unsafe { result::event::record(event.raw(), self.stream(stream).raw()) };
        result.map_err(|e| failed("cuEventRecord", &format!("the {stream:?} stream"), e))
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<()> {
        let event: &EventHandle = event.of()?;
        self.context.enter()?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and stream live as long as the two borrows.
        let result =
            unsafe { result::stream::wait_event(self.stream(stream).raw(), event.raw(), flags) };
        result.map_err(|e| failed("cuStreamWaitEvent", &format!("the {stream:?} stream"), e))
    }

    fn finish(&self, event: &Event) -> Result<()> {
        let event: &EventHandle = event.of()?;
        self.context.enter()?;
        // SAFETY: the event lives as long as the borrow.
        let result = unsafe { result::event::synchronize(event.raw()) };
        result.map_err(|e| failed("cuEventSynchronize", "the work before it", e))
    }

    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        let (from, to): (&EventHandle, &EventHandle) = (from.of()?, to.of()?);
        self.context.enter()?;
        // SAFETY: the events live as long as the borrows.
        let elapsed = unsafe { result::event::elapsed(from.raw(), to.raw()) };
        elapsed.map_err(|e| failed("cuEventElapsedTime", "two events", e))
    }

    fn synchronize(&self) -> Result<()> {
        self.compute.synchronize()?;
        self.copy.synchronize()
    }

    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Graph>> {
        self.context.enter()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as `self`.
        let begun = unsafe { result::stream::begin_capture(self.compute.raw(), mode) };
        begun.map_err(|e| failed("cuStreamBeginCapture", "the compute stream", e))?;
        let worked = work();
        let graph = self.end_capture();
        worked?;
        Ok(Some(Graph::new(GraphHandle::instantiate(
            &self.context,
            graph?,
        )?)))
    }

    unsafe fn replay(&self, graph: &Graph) -> Result<()> {
        let graph: &GraphHandle = graph.of()?;
        self.context.enter()?;
        // SAFETY: graph and stream live as long as the borrows; what the launches point to is the caller's promise.
        let result = unsafe { result::graph::launch(graph.raw(), self.compute.raw()) };
        result.map_err(|e| failed("cuGraphLaunch", "a captured graph", e))
    }
}

fn element_code(element: Element) -> sys::CUtensorMapDataType {
    use sys::CUtensorMapDataType as Code;
    match element {
        Element::Byte => Code::CU_TENSOR_MAP_DATA_TYPE_UINT8,
        Element::Bf16 => Code::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        Element::F32 => Code::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
    }
}

fn swizzle_code(swizzle: Swizzle) -> sys::CUtensorMapSwizzle {
    use sys::CUtensorMapSwizzle as Code;
    match swizzle {
        Swizzle::None => Code::CU_TENSOR_MAP_SWIZZLE_NONE,
        Swizzle::Bytes32 => Code::CU_TENSOR_MAP_SWIZZLE_32B,
        Swizzle::Bytes64 => Code::CU_TENSOR_MAP_SWIZZLE_64B,
        Swizzle::Bytes128 => Code::CU_TENSOR_MAP_SWIZZLE_128B,
    }
}

const _: () = assert!(size_of::<TensorMap>() == size_of::<sys::CUtensorMap>());
const _: () = assert!(align_of::<TensorMap>() == align_of::<sys::CUtensorMap>());

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(compute_capability: (u32, u32), driver_version: (u32, u32)) -> GpuInfo {
        GpuInfo {
            name: "NVIDIA L4".into(),
            memory_bytes: 24 << 30,
            driver_version,
            compute_capability,
        }
    }

    #[test]
    fn gpus_and_drivers_that_will_not_do_are_told_what_is_needed() {
        assert!(check_requirements(&gpu((9, 0), (13, 0))).is_ok());
        assert!(check_requirements(&gpu((9, 0), (13, 2))).is_ok());
        let why = |cc, driver| {
            check_requirements(&gpu(cc, driver))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            why((8, 9), (13, 0)),
            "NVIDIA L4 has compute capability 8.9; the kernels need 9.0 (H100, H200); set `device` to cpu"
        );
        assert!(why((10, 0), (13, 0)).contains("10.0; the kernels need 9.0"));
        assert_eq!(
            why((9, 0), (12, 8)),
            "the NVIDIA driver supports CUDA 12.8; 13.0 is needed: install driver 580 or newer"
        );
    }

    #[test]
    fn opening_a_gpu_that_is_not_there_is_an_error_with_a_reason() {
        let error = Driver::open(4096, None).err().unwrap();
        assert_eq!(error.exit_code(), 5);
        let why = error.to_string();
        assert!(
            why.contains("driver") || why.contains("no cuda:4096"),
            "{why}"
        );
    }

    #[test]
    fn failures_name_call_place_and_code() {
        let error = DriverError(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert_eq!(
            failed("cuLaunchKernel", "rope_bf16 (grid 8192)", error).to_string(),
            "cuLaunchKernel failed at rope_bf16 (grid 8192): CUDA_ERROR_ILLEGAL_ADDRESS; a kernel failed: set \
             GALLOP_SYNC=1 to find the op"
        );
        let error = DriverError(sys::CUresult::CUDA_ERROR_UNKNOWN);
        let lost = failed("cuEventSynchronize", "the work before it", error);
        assert!(lost.to_string().contains("the GPU is lost"), "{lost}");
        assert_eq!(lost.exit_code(), 5);
        let error = DriverError(sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
        assert!(
            failed("cuModuleLoadData", "rope.cubin", error)
                .to_string()
                .ends_with("not compiled for this GPU")
        );
    }
}
