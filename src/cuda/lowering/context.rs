//! What a launch function sees of the plan: the steps it is to run, where their buffers lie, and the refusals it may
//! answer with.

#![allow(
    unsafe_code,
    reason = "that arguments are what a kernel asks for is a promise of each launch function"
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

/// What a kernel's machine code asks of a GPU: at least this compute capability. Code with an `a` runs on that one
/// capability alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cuda) enum Architecture {
    /// mma.sync, cp.async.
    Sm80,
    /// Conversions to and from e4m3.
    Sm89,
    /// wgmma, TMA, clusters, setmaxnreg.
    Sm90a,
}

/// What launches depend on besides memory: the GPU they are for.
pub(in crate::cuda) struct Arch {
    name: String,
    capability: (u32, u32),
    num_sms: u32,
}

impl Arch {
    /// As `device` says.
    pub(in crate::cuda) fn of(device: &dyn Device) -> Self {
        Self {
            name: device.name(),
            capability: device.capability(),
            num_sms: device.num_sms(),
        }
    }

    /// An H100 or H200, which need not be there.
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

    /// Streaming multiprocessors: the blocks of a persistent kernel.
    pub(in crate::cuda) fn num_sms(&self) -> u32 {
        self.num_sms
    }
}

/// What lowering needs besides the steps.
pub(in crate::cuda) struct Lowering<'a> {
    pub(in crate::cuda) plan: &'a Plan,
    pub(in crate::cuda) layout: &'a Layout,
    pub(in crate::cuda) weights: &'a WeightLayout,
    /// Where its memory starts, and the device that it is of; none before there is any.
    pub(in crate::cuda) memory: Option<(BaseAddresses, &'a dyn Device)>,
    pub(in crate::cuda) arch: &'a Arch,
    /// Whether rows of the table of fused steps apply.
    pub(in crate::cuda) fuse: bool,
    /// What may compute products instead of our own kernel.
    pub(in crate::cuda) library: Option<&'a GemmPolicy>,
}

impl Lowering<'_> {
    pub(in crate::cuda) fn bases(&self) -> BaseAddresses {
        self.memory
            .map_or(BaseAddresses::UNPLACED, |(bases, _)| bases)
    }

    /// Where the whole buffer that `buf` is or is a part of starts; nowhere if its kernel does not write it.
    fn address(&self, buf: Buf) -> Option<u64> {
        let (plan, bases) = (self.plan, self.bases());
        let root = plan.spec(plan.root(buf));
        if root.role == Role::Weight {
            let view = self.weights.view(&root.label, bases.weights)?;
            return Some(view.address);
        }
        let is_there = self.layout.has_place(plan, buf);
        is_there.then(|| bases.arena + self.layout.range(plan, buf).start as u64)
    }
}

/// What a launch function sees: the steps it is to run, and where their buffers lie.
pub(in crate::cuda) struct LowerCx<'a> {
    pub(in crate::cuda) context: &'a Lowering<'a>,
    /// One step, or those of a row of the fused table.
    pub(in crate::cuda) steps: &'a [Step],
    pub(in crate::cuda) tables: &'a mut Metadata,
}

impl LowerCx<'_> {
    /// Whether everything but what is `unwritten` lies somewhere: not where another row, which was found to apply
    /// before there was memory, leaves out what this one asks for.
    pub(in crate::cuda) fn has_places(&self, unwritten: &[Buf]) -> bool {
        let touched = self
            .steps
            .iter()
            .flat_map(|step| step.reads.iter().chain([&step.writes]));
        let mut asked_for = touched.filter(|buf| !unwritten.contains(buf));
        asked_for.all(|&buf| self.context.address(buf).is_some())
    }

    /// A buffer for kernels.
    ///
    /// # Panics
    /// If it has no place.
    pub(in crate::cuda) fn view(&self, buf: Buf) -> DeviceView {
        let (plan, address) = (self.context.plan, self.context.address(buf));
        let address = address.unwrap_or_else(|| panic!("{} has no place", plan.spec(buf).label));
        arena::view(plan, buf, address)
    }

    /// Argument `index` of the first step.
    pub(in crate::cuda) fn read(&self, index: usize) -> DeviceView {
        self.view(self.steps[0].reads[index])
    }

    /// The result of the last step.
    pub(in crate::cuda) fn write(&self) -> DeviceView {
        self.view(self.steps[self.steps.len() - 1].writes)
    }

    /// Address of a constant table that launches read.
    pub(in crate::cuda) fn table<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Dev<T> {
        Dev::new(self.tables.add(bytemuck::cast_slice(values)))
    }

    /// Address of `bytes` for what these launches hand to one another; those of the next unit use them again.
    pub(in crate::cuda) fn workspace(&mut self, bytes: usize) -> u64 {
        self.tables.ask_for_workspace(bytes);
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

    /// A launch of that one of `all` which is for the element types of `args`.
    ///
    /// # Errors
    /// As for [`LowerCx::launch`], and a refusal if no one is.
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

    /// Element type of a buffer, one that has no place included.
    pub(in crate::cuda) fn dtype(&self, buf: Buf) -> DType {
        self.context.plan.spec(buf).dtype
    }

    /// Extents of a buffer.
    pub(in crate::cuda) fn shape(&self, buf: Buf) -> &Shape {
        &self.context.plan.spec(buf).shape
    }

    /// How bulk copies see a tensor.
    ///
    /// # Errors
    /// [`Error::Device`] for what the hardware cannot do.
    pub(in crate::cuda) fn map(&self, spec: &TensorMapSpec) -> Result<TensorMap> {
        match self.context.memory {
            Some((_, device)) => device.tensor_map(spec),
            // Of memory that is not there a driver might refuse to make a map.
            None => spec.check().map(|()| TensorMap([0; 128])),
        }
    }

    /// The device that will run it.
    pub(in crate::cuda) fn device(&self) -> &Arch {
        self.context.arch
    }

    /// That no kernel does this, and why.
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

/// An element type as plans and kernels both have it.
pub(in crate::cuda) trait KernelType {
    /// The plan's name for it.
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
    /// Its elements, to be read.
    ///
    /// # Panics
    /// If they are of another type.
    pub(in crate::cuda) fn dev<T: KernelType>(self) -> Dev<T> {
        assert_eq!(self.dtype, T::DTYPE, "element type of a kernel's argument");
        Dev::new(self.address)
    }

    /// Its elements, to be written.
    ///
    /// # Panics
    /// If they are of another type.
    pub(in crate::cuda) fn dev_mut<T: KernelType>(self) -> DevMut<T> {
        assert_eq!(self.dtype, T::DTYPE, "element type of a kernel's argument");
        DevMut::new(self.address)
    }

    /// Whether eight elements from any multiple of 8 columns on can be moved by 16-byte instructions.
    pub(in crate::cuda) fn is_aligned(self) -> bool {
        self.address.is_multiple_of(16) && self.pitch.is_multiple_of(8)
    }
}

impl LowerCx<'_> {
    /// That the views start where vectors of 16 bytes can be read.
    ///
    /// # Errors
    /// A refusal.
    pub(in crate::cuda) fn check_aligned(&self, views: &[DeviceView]) -> Result<()> {
        if views.iter().all(|view| view.is_aligned()) {
            return Ok(());
        }
        Err(self.refusal("a part of a buffer starts at no multiple of 16 bytes"))
    }

    /// What the second step, a sum, adds to the result of the first.
    pub(in crate::cuda) fn summand(&self) -> DeviceView {
        let others = |buf: &&Buf| **buf != self.steps[0].writes;
        let other = self.steps[1].reads.iter().find(others);
        self.view(*other.expect("a result is one argument of its sum"))
    }

    /// That no kernel takes these types.
    pub(in crate::cuda) fn types(&self) -> Error {
        self.refusal("there is no kernel for these types")
    }

    /// Group ends as kernels read them.
    pub(in crate::cuda) fn ends(&mut self, ends: &[usize]) -> Result<Dev<i32>> {
        let ends: Vec<i32> = ends.iter().map(|&end| int(end)).collect::<Result<_>>()?;
        Ok(self.table(&ends))
    }

    /// Frames, height, width and channels of a video.
    ///
    /// # Errors
    /// A refusal of a buffer seen as rows and columns.
    pub(in crate::cuda) fn video(&self, buf: Buf) -> Result<[usize; 4]> {
        let extents = self.shape(buf).extents().try_into();
        extents.map_err(|_| self.refusal("a part of a video is not one"))
    }

    /// Frames, rows and columns under a stored kernel `[out, in, (frames,) rows, columns]`.
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

    /// The extents of a convolution of videos, which is the only step.
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

    /// Elements from one value to the next of a vector, stored as a row or as a column.
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

    /// The f32 weight `buf` of a norm, one row of `width` for each of `groups`, without gaps.
    pub(in crate::cuda) fn gains(
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

/// Blocks of `threads` where every thread has eight columns of a row.
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

/// Frames or time, height and width, as kernels have them.
pub(in crate::cuda) fn axes([t, h, w]: [usize; 3]) -> Result<Axes> {
    Ok(Axes {
        t: int(t)?,
        h: int(h)?,
        w: int(w)?,
    })
}
