//! What a launch function sees of the plan: its steps, the addresses of their buffers, and the refusals it may answer
//! with.

#![allow(
    unsafe_code,
    reason = "each launch function promises that its arguments are what the kernel asks for"
)]

use half::bf16;

use super::{
    arena::{self, BaseAddresses, DeviceView, Layout, Metadata},
    weights::WeightLayout,
    work::BoundLaunch,
};
use crate::{
    DType, Error, Result, Shape,
    cuda::gpu::{
        arguments::{AnyDev, Arguments, Dev, DevMut, E4m3, Entry, Instance},
        device::{Device, Launch},
        gemm_backend::GemmPolicy,
        params::{Axes, ConvShape},
        tensor_map::{TensorMap, TensorMapSpec},
    },
    error::Hint,
    plan::{Buf, Conv3d, PaddingMode, Plan, Role, Step},
};

/// What a kernel's machine code asks of a GPU: at least this compute capability, or with an `a` exactly this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cuda) enum Architecture {
    /// mma.sync, cp.async.
    Sm80,
    /// Conversions to and from e4m3.
    Sm89,
    /// wgmma, TMA, clusters, setmaxnreg.
    Sm90a,
}

/// The properties of a GPU that launches depend on.
pub(in crate::cuda) struct Arch {
    name: String,
    capability: (u32, u32),
    num_sms: u32,
}

impl Arch {
    /// Of `device`.
    pub(in crate::cuda) fn of(device: &dyn Device) -> Self {
        Self {
            name: device.name(),
            capability: device.capability(),
            num_sms: device.num_sms(),
        }
    }

    /// An H100 or H200, without opening one.
    pub(in crate::cuda) fn hopper() -> Self {
        Self {
            name: "a Hopper GPU".into(),
            capability: (9, 0),
            num_sms: 132,
        }
    }

    /// Whether kernels for `architecture` run on it.
    pub(in crate::cuda) fn has(&self, architecture: Architecture) -> bool {
        match architecture {
            Architecture::Sm80 => self.capability >= (8, 0),
            Architecture::Sm89 => self.capability >= (8, 9),
            Architecture::Sm90a => self.capability == (9, 0),
        }
    }

    /// Streaming multiprocessors: a persistent kernel launches one block on each.
    pub(in crate::cuda) fn num_sms(&self) -> u32 {
        self.num_sms
    }
}

/// The inputs of lowering.
pub(in crate::cuda) struct Lowering<'a> {
    pub(in crate::cuda) plan: &'a Plan,
    pub(in crate::cuda) layout: &'a Layout,
    pub(in crate::cuda) weights: &'a WeightLayout,
    /// Base addresses and their device; none before memory is allocated.
    pub(in crate::cuda) memory: Option<(BaseAddresses, &'a dyn Device)>,
    pub(in crate::cuda) arch: &'a Arch,
    /// Whether rows of several steps apply.
    pub(in crate::cuda) fuse: bool,
    /// The library that may compute GEMMs instead of our own kernel.
    pub(in crate::cuda) library: Option<&'a GemmPolicy>,
}

impl Lowering<'_> {
    pub(in crate::cuda) fn bases(&self) -> BaseAddresses {
        self.memory
            .map_or(BaseAddresses::UNPLACED, |(bases, _)| bases)
    }

    /// Address of the whole buffer that `buf` is or is a part of; none if its kernel does not write it.
    fn address(&self, buf: Buf) -> Option<u64> {
        let (plan, bases) = (self.plan, self.bases());
        let root = plan.spec(plan.root(buf));
        if root.role == Role::Weight {
            let view = self.weights.view(&root.label, bases.weights)?;
            return Some(view.address);
        }
        let is_there = self.layout.has_address(plan, buf);
        is_there.then(|| bases.arena + self.layout.range(plan, buf).start as u64)
    }
}

/// What a launch function sees: the steps to run, and the addresses of their buffers.
pub(in crate::cuda) struct LowerCx<'a> {
    pub(in crate::cuda) context: &'a Lowering<'a>,
    /// The steps of one row of the kernel table.
    pub(in crate::cuda) steps: &'a [Step],
    pub(in crate::cuda) metadata: &'a mut Metadata,
}

impl LowerCx<'_> {
    /// Whether all buffers but the `unwritten` ones have an address. One has none if memory was laid out for another row
    /// that does not write it.
    pub(in crate::cuda) fn have_addresses(&self, unwritten: &[Buf]) -> bool {
        let touched = self
            .steps
            .iter()
            .flat_map(|step| step.reads.iter().chain([&step.writes]));
        let mut asked_for = touched.filter(|buf| !unwritten.contains(buf));
        asked_for.all(|&buf| self.context.address(buf).is_some())
    }

    /// A buffer as kernels address it.
    ///
    /// # Panics
    /// If it has no address.
    pub(in crate::cuda) fn view(&self, buf: Buf) -> DeviceView {
        let (plan, address) = (self.context.plan, self.context.address(buf));
        let address = address.unwrap_or_else(|| panic!("{} has no address", plan.spec(buf).label));
        arena::view(plan, buf, address)
    }

    /// Input `index` of the first step.
    pub(in crate::cuda) fn read(&self, index: usize) -> DeviceView {
        self.view(self.steps[0].reads[index])
    }

    /// The result of the last step.
    pub(in crate::cuda) fn write(&self) -> DeviceView {
        self.view(self.steps[self.steps.len() - 1].writes)
    }

    /// Address of constants that launches read.
    pub(in crate::cuda) fn metadata<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Dev<T> {
        Dev::new(self.metadata.add(bytemuck::cast_slice(values)))
    }

    /// Address of `bytes` of workspace, shared by all launches of this unit and used again by the next unit.
    pub(in crate::cuda) fn workspace(&mut self, bytes: usize) -> u64 {
        self.metadata.ask_for_workspace(bytes);
        self.context.layout.workspace(self.context.bases())
    }

    /// A launch of `entry` on a grid.
    ///
    /// # Errors
    /// [`Error::Device`] for a grid or a size of shared memory that no kernel can have.
    ///
    /// # Safety
    /// As for [`BoundLaunch::new`].
    pub(in crate::cuda) unsafe fn launch<E: Entry>(
        &self,
        entry: &E,
        grid: [u32; 3],
        shared_bytes: u32,
    ) -> Result<Vec<BoundLaunch>> {
        let launch = Launch::new(entry, grid, shared_bytes)?;
        // SAFETY: the caller vouches for the arguments.
        Ok(vec![unsafe { BoundLaunch::new(launch) }])
    }

    /// A launch of the instance of `all` for the element types of `args`.
    ///
    /// # Errors
    /// Those of [`LowerCx::launch`], and a refusal if there is no such instance.
    ///
    /// # Safety
    /// As for [`BoundLaunch::new`].
    pub(in crate::cuda) unsafe fn launch_one_of<A: Arguments>(
        &self,
        all: &[Instance<A>],
        args: &A,
        grid: [u32; 3],
        shared_bytes: u32,
    ) -> Result<Vec<BoundLaunch>> {
        let launch = Launch::one_of(all, args, grid, shared_bytes)?;
        let launch = launch.ok_or_else(|| self.types())?;
        // SAFETY: the caller vouches for the arguments.
        Ok(vec![unsafe { BoundLaunch::new(launch) }])
    }

    /// Element type of a buffer, which need not have an address.
    pub(in crate::cuda) fn dtype(&self, buf: Buf) -> DType {
        self.context.plan.spec(buf).dtype
    }

    /// Extents of a buffer.
    pub(in crate::cuda) fn shape(&self, buf: Buf) -> &Shape {
        &self.context.plan.spec(buf).shape
    }

    /// Encodes a tensor map for TMA.
    ///
    /// # Errors
    /// [`Error::Device`] if the hardware cannot do it.
    pub(in crate::cuda) fn map(&self, spec: &TensorMapSpec) -> Result<TensorMap> {
        match self.context.memory {
            Some((_, device)) => device.tensor_map(spec),
            // A driver might refuse a map of placeholder addresses.
            None => spec.check().map(|()| TensorMap([0; 128])),
        }
    }

    /// The GPU that will run it.
    pub(in crate::cuda) fn device(&self) -> &Arch {
        self.context.arch
    }

    /// The error that no kernel runs these steps, and why.
    pub(in crate::cuda) fn refusal(&self, why: &str) -> Error {
        let plan = self.context.plan;
        let step = &self.steps[0];
        let types = step.reads.iter().map(|&buf| {
            let spec = plan.spec(buf);
            format!("{} {}", spec.dtype, spec.shape)
        });
        let types: Vec<String> = types.collect();
        let result = plan.spec(step.writes);
        let problem = format!(
            "`{}` cannot run {} at {} ({} to {} {}): {why}",
            self.context.arch.name,
            step.op.name(),
            result.label,
            types.join(", "),
            result.dtype,
            result.shape
        );
        Error::device(problem).with_hint(Hint::USE_CPU)
    }
}

/// A kernel's element type, with the plan's name for it.
pub(in crate::cuda) trait KernelType {
    /// The plan's name.
    const DTYPE: DType;
}

macro_rules! kernel_type {
    ($type:ty, $dtype:ident) => {
        impl KernelType for $type {
            const DTYPE: DType = DType::$dtype;
        }
    };
}
kernel_type!(f32, F32);
kernel_type!(bf16, Bf16);
kernel_type!(u8, U8);
kernel_type!(E4m3, E4m3);
kernel_type!(i32, I32);

impl From<DeviceView> for AnyDev {
    fn from(view: DeviceView) -> Self {
        Self::new(view.address, view.dtype)
    }
}

impl DeviceView {
    /// Its elements, for reading.
    ///
    /// # Panics
    /// If they are of another type.
    pub(in crate::cuda) fn dev<T: KernelType>(self) -> Dev<T> {
        assert_eq!(self.dtype, T::DTYPE, "element type of a kernel's argument");
        Dev::new(self.address)
    }

    /// Its elements, for writing.
    ///
    /// # Panics
    /// If they are of another type.
    pub(in crate::cuda) fn dev_mut<T: KernelType>(self) -> DevMut<T> {
        assert_eq!(self.dtype, T::DTYPE, "element type of a kernel's argument");
        DevMut::new(self.address)
    }

    /// Whether every eighth column of a row starts at a multiple of 16 bytes, for 16-byte loads and stores.
    pub(in crate::cuda) fn is_aligned(self) -> bool {
        self.address.is_multiple_of(16) && self.pitch.is_multiple_of(8)
    }
}

impl LowerCx<'_> {
    /// Refuses views that 16-byte loads and stores cannot access.
    ///
    /// # Errors
    /// The refusal.
    pub(in crate::cuda) fn check_aligned(&self, views: &[DeviceView]) -> Result<()> {
        if views.iter().all(|view| view.is_aligned()) {
            return Ok(());
        }
        Err(self.refusal("a part of a buffer starts at no multiple of 16 bytes"))
    }

    /// What the second step, an `Op::Add`, adds to the result of the first.
    pub(in crate::cuda) fn summand(&self) -> DeviceView {
        let others = |buf: &&Buf| **buf != self.steps[0].writes;
        let other = self.steps[1].reads.iter().find(others);
        self.view(*other.expect("an add with one input besides the first step's result"))
    }

    /// The refusal of element types that no kernel takes.
    pub(in crate::cuda) fn types(&self) -> Error {
        self.refusal("there is no kernel for these types")
    }

    /// Group offsets as kernels read them: where each group of rows ends.
    pub(in crate::cuda) fn ends(&mut self, ends: &[usize]) -> Result<Dev<i32>> {
        let ends: Vec<i32> = ends.iter().map(|&end| int(end)).collect::<Result<_>>()?;
        Ok(self.metadata(&ends))
    }

    /// Frames, height, width and channels of a video.
    ///
    /// # Errors
    /// A refusal of a buffer of another rank.
    pub(in crate::cuda) fn video(&self, buf: Buf) -> Result<[usize; 4]> {
        let extents = self.shape(buf).extents().try_into();
        extents.map_err(|_| self.refusal("a part of a video is not one"))
    }

    /// Taps in time, height and width of a convolution's weight `[out, in, (frames,) rows, columns]`.
    ///
    /// # Errors
    /// A refusal of other shapes.
    pub(in crate::cuda) fn kernel_extents(&self, buf: Buf) -> Result<[usize; 3]> {
        match *self.shape(buf).extents() {
            [_, _, rows, cols] => Ok([1, rows, cols]),
            [_, _, frames, rows, cols] => Ok([frames, rows, cols]),
            _ => Err(self.refusal("the weight is no kernel")),
        }
    }

    /// The shape of a convolution of videos, the only step.
    pub(in crate::cuda) fn conv_shape(&self, conv: Conv3d) -> Result<ConvShape> {
        let step = &self.steps[0];
        let [frames, height, width, inputs] = self.video(step.reads[0])?;
        let [out_frames, out_height, out_width, outputs] = self.video(step.writes)?;
        Ok(ConvShape {
            size: axes([frames, height, width])?,
            inputs: int(inputs)?,
            out_size: axes([out_frames, out_height, out_width])?,
            outputs: int(outputs)?,
            kernel: axes(self.kernel_extents(step.reads[1])?)?,
            stride: axes(conv.stride)?,
            before: axes(conv.before)?,
            replicate: (conv.time_padding == PaddingMode::Replicate).into(),
        })
    }

    /// Stride of a vector in elements; it is one row or one column.
    ///
    /// # Errors
    /// A refusal of a matrix.
    pub(in crate::cuda) fn step_of(&self, vector: DeviceView) -> Result<usize> {
        match (vector.rows, vector.cols) {
            (1, _) => Ok(1),
            (_, 1) => Ok(vector.pitch),
            _ => Err(self.refusal("a vector has one row or one column")),
        }
    }

    /// The norm weight `buf`, f32 `[groups, width]` without gaps.
    pub(in crate::cuda) fn norm_weight(
        &self,
        buf: Option<&Buf>,
        groups: usize,
        width: usize,
    ) -> Result<Dev<f32>> {
        let Some(&buf) = buf else {
            return Err(self.refusal("there is no kernel without a weight"));
        };
        let view = self.view(buf);
        if view.dtype != DType::F32 || view.rows != 1 || view.cols != groups * width {
            return Err(self.refusal("the weight must be f32, in one row"));
        }
        Ok(view.dev())
    }
}

/// A size for a kernel that takes an `int`.
///
/// # Errors
/// [`Error::Device`] beyond 2147483647.
pub(in crate::cuda) fn int(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| {
        let problem = format!("a size of {size} is more than kernels count to");
        Error::device(problem).with_hint(Hint::SMALLER_CLIP)
    })
}

/// A number of blocks.
///
/// # Errors
/// [`Error::Device`] beyond what a grid holds.
pub(in crate::cuda) fn blocks(count: usize) -> Result<u32> {
    int(count).map(i32::unsigned_abs)
}

/// Grid of blocks of `threads`, where every thread has eight columns of a row.
///
/// # Errors
/// [`Error::Device`] for more than 2^31 threads.
pub(in crate::cuda) fn chunk_blocks(rows: usize, cols: usize, threads: usize) -> Result<[u32; 3]> {
    let chunks = int(rows * cols.div_ceil(8))?;
    Ok([
        blocks((chunks.unsigned_abs() as usize).div_ceil(threads))?,
        1,
        1,
    ])
}

/// Time, height and width, as kernels take them.
pub(in crate::cuda) fn axes([t, h, w]: [usize; 3]) -> Result<Axes> {
    Ok(Axes {
        t: int(t)?,
        h: int(h)?,
        w: int(w)?,
    })
}
