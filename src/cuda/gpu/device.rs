//! What an executor needs of a GPU, and nothing more: memory, launches, tensor maps, two queues, events, graphs.
//!
//! Two things are devices: the CUDA driver ([`super::driver::Driver`]) and the emulator that the tests run kernels on. The
//! trait is as narrow as both can be. Queued work runs in the order of its queue; the queues run beside each other
//! and are ordered by [`Event`]s. Nothing is allocated by any method that does not say so.

#![allow(
    unsafe_code,
    reason = "what a kernel does with its arguments is known only to who launches it"
)]

use std::{any::Any, fmt, marker::PhantomData, ops::Range};

use super::{
    arguments::{Arg, Arguments, Dev, DevMut, Entry, Instance, Kernel},
    tensor_map::{TensorMap, TensorMapSpec},
};
use crate::{Error, Result};

/// The most dynamic shared memory a block may ask for on Hopper: 227 KiB.
pub const SHARED_BYTES_MAX: u32 = 227 * 1024;

/// A GPU, or something that behaves like one. Memory that is handed to it must be its own.
pub trait Device: Send + Sync {
    /// What it is, for messages and reports: `NVIDIA H200 (cuda:0)`.
    fn name(&self) -> String;

    /// Compute capability, major and minor.
    fn capability(&self) -> (u32, u32);

    /// Streaming multiprocessors: the blocks of a persistent kernel.
    fn num_sms(&self) -> u32;

    /// Memory that nobody uses, in bytes.
    ///
    /// # Errors
    /// The device's.
    fn free_bytes(&self) -> Result<u64>;

    /// Allocates memory of any content, aligned to 256 bytes; `for_what` ends the sentence if there is not enough.
    ///
    /// # Errors
    /// [`Error::Memory`], or the device's.
    fn alloc(&self, bytes: usize, for_what: &str) -> Result<Memory>;

    /// Allocates host memory that the device can copy from while both go on working.
    ///
    /// # Errors
    /// [`Error::Memory`], or the device's.
    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>>;

    /// Sets a part of `to` to one byte value, on the compute queue.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If the part is not inside.
    fn fill(&self, to: &Memory, part: Range<usize>, value: u8) -> Result<()>;

    /// Copies host bytes to `to` from `offset`, behind all work of the compute queue, and waits.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If the bytes do not fit inside.
    fn h2d(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()>;

    /// Copies bytes of `from` from `offset` on to the host, behind all work of the compute queue, and waits.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If the bytes are not inside.
    fn d2h(&self, from: &Memory, offset: usize, to: &mut [u8]) -> Result<()>;

    /// Copies host bytes to `to` from `offset` on the copy queue, without waiting.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Panics
    /// If the bytes do not fit inside.
    ///
    /// # Safety
    /// `from` must stay as it is until an event recorded later on the copy queue has passed.
    unsafe fn h2d_async(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()>;

    /// Encodes how a kernel's bulk copies see a tensor.
    ///
    /// # Errors
    /// [`Error::Device`] for what the hardware cannot do ([`TensorMapSpec::check`]).
    fn tensor_map(&self, spec: &TensorMapSpec) -> Result<TensorMap>;

    /// Queues a kernel on the compute queue.
    ///
    /// # Errors
    /// [`Error::Device`] with the kernel's name; a fault inside the kernel shows at a later call.
    ///
    /// # Safety
    /// The arguments must be what the kernel's header asks for: every address points to live memory of this device
    /// as large and as aligned as the kernel reads and writes for these sizes and this grid.
    unsafe fn launch(&self, launch: &Launch) -> Result<()>;

    /// Allocates an event that nothing has recorded.
    ///
    /// # Errors
    /// The device's.
    fn event(&self) -> Result<Event>;

    /// Marks the present end of a queue; the event passes when all work before it is done.
    ///
    /// # Errors
    /// The device's.
    fn record(&self, event: &Event, queue: Stream) -> Result<()>;

    /// Lets what is queued from now on wait for an event.
    ///
    /// # Errors
    /// The device's.
    fn wait(&self, queue: Stream, event: &Event) -> Result<()>;

    /// Waits on the host until an event has passed.
    ///
    /// # Errors
    /// The device's, those of the work before the event too.
    fn finish(&self, event: &Event) -> Result<()>;

    /// Milliseconds between two events that have passed.
    ///
    /// # Errors
    /// The device's.
    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32>;

    /// Waits on the host until both queues are empty.
    ///
    /// # Errors
    /// The device's, those of the work before too.
    fn synchronize(&self) -> Result<()>;

    /// Records what `work` puts on the compute queue instead of running it. `None`, and `work` is not called, where
    /// there are no graphs: then the caller launches one by one.
    ///
    /// # Errors
    /// Those of `work`, or the device's.
    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Graph>>;

    /// Queues a graph on the compute queue.
    ///
    /// # Errors
    /// The device's.
    ///
    /// # Safety
    /// What [`Device::launch`] asks for must hold again for every launch of the graph: its memory must live.
    unsafe fn replay(&self, graph: &Graph) -> Result<()>;
}

/// The two queues of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Kernels, and copies that belong between them.
    Compute,
    /// Weights on their way to the device.
    Copy,
}

/// What a handle keeps alive; dropping it gives it back to the device.
type Owner = Box<dyn Any + Send + Sync>;

/// Device memory; freed when dropped, after all queued work.
pub struct Memory {
    address: u64,
    bytes: usize,
    _owner: Owner,
}

impl Memory {
    /// `bytes` of memory at `address`, which dropping `owner` frees.
    ///
    /// # Safety
    /// The device that hands it out can read and write all of it until `owner` is dropped.
    pub unsafe fn new(address: u64, bytes: usize, owner: impl Any + Send + Sync) -> Self {
        Self {
            address,
            bytes,
            _owner: Box::new(owner),
        }
    }

    /// Its first address.
    pub fn start(&self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of a part of it.
    ///
    /// # Panics
    /// If the part is not inside.
    pub fn address(&self, part: Range<usize>) -> u64 {
        assert!(
            part.start <= part.end && part.end <= self.bytes,
            "{part:?} is not inside {} bytes",
            self.bytes
        );
        self.address + part.start as u64
    }

    /// `count` elements from byte `offset` on, for kernels that read them.
    ///
    /// # Panics
    /// If they are not inside, or not aligned.
    pub fn dev<T>(&self, offset: usize, count: usize) -> Dev<T> {
        Dev::new(self.elements::<T>(offset, count))
    }

    /// `count` elements from byte `offset` on, for kernels that write them.
    ///
    /// # Panics
    /// If they are not inside, or not aligned.
    pub fn dev_mut<T>(&self, offset: usize, count: usize) -> DevMut<T> {
        DevMut::new(self.elements::<T>(offset, count))
    }

    fn elements<T>(&self, offset: usize, count: usize) -> u64 {
        let bytes = count.saturating_mul(size_of::<T>());
        let address = self.address(offset..offset.saturating_add(bytes));
        assert!(
            address.is_multiple_of(align_of::<T>() as u64),
            "offset {offset} is not aligned"
        );
        address
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes, self.address)
    }
}

/// Host memory that the device can copy from.
pub trait Pinned: AsRef<[u8]> + AsMut<[u8]> + Send + Sync {}

impl<T: AsRef<[u8]> + AsMut<[u8]> + Send + Sync> Pinned for T {}

/// A handle that only its device can read.
pub struct Handle<Of> {
    owner: Owner,
    of: PhantomData<fn() -> Of>,
}

/// A point in a queue.
pub type Event = Handle<EventMark>;
/// Recorded launches.
pub type Graph = Handle<GraphMark>;

/// Says that a [`Handle`] is an event.
pub enum EventMark {}
/// Says that a [`Handle`] is a graph.
pub enum GraphMark {}

impl<Of> Handle<Of> {
    /// Wraps what the device knows it by.
    pub fn new(owner: impl Any + Send + Sync) -> Self {
        Self {
            owner: Box::new(owner),
            of: PhantomData,
        }
    }

    /// What the device wrapped.
    ///
    /// # Errors
    /// [`Error::Device`] if another kind of device made it.
    pub fn of<T: Any>(&self) -> Result<&T> {
        self.owner
            .downcast_ref()
            .ok_or_else(|| Error::device("a handle of one device was given to another"))
    }
}

/// A kernel with its arguments, ready to be queued any number of times.
#[derive(Clone, Debug)]
pub struct Launch {
    kernel: Kernel,
    blocks: [u32; 3],
    shared_bytes: u32,
    args: Vec<Arg>,
}

impl Launch {
    /// Checks what no kernel could run with. `blocks` is x, y, z; `shared_bytes` the dynamic shared memory of a block.
    ///
    /// # Errors
    /// [`Error::Device`] for a grid that is empty, too large or no multiple of the cluster, and for more shared memory
    /// than there is.
    pub fn new<E: Entry>(entry: &E, blocks: [u32; 3], shared_bytes: u32) -> Result<Self> {
        Self::of(E::KERNEL, entry.args(), blocks, shared_bytes)
    }

    /// The same of that one of `all` which is for the element types of `args`; none if no one is.
    ///
    /// # Errors
    /// As for [`Launch::new`].
    pub fn one_of<A: Arguments>(
        all: &[Instance<A>],
        args: &A,
        blocks: [u32; 3],
        shared_bytes: u32,
    ) -> Result<Option<Self>> {
        let kernel = Instance::find(all, args);
        kernel
            .map(|kernel| Self::of(kernel, args.args(), blocks, shared_bytes))
            .transpose()
    }

    fn of(kernel: Kernel, args: Vec<Arg>, blocks: [u32; 3], shared_bytes: u32) -> Result<Self> {
        let [x, y, z] = blocks;
        let grid = x > 0 && x < 1 << 31 && (1..1 << 16).contains(&y) && (1..1 << 16).contains(&z);
        let problem = if !grid {
            "grids are 1 to 2147483647 by 65535 by 65535".into()
        } else if x % kernel.cluster != 0 {
            format!("x must be a multiple of the cluster, {}", kernel.cluster)
        } else if shared_bytes > SHARED_BYTES_MAX {
            format!("asks for {shared_bytes} bytes of shared memory; there are {SHARED_BYTES_MAX}")
        } else {
            return Ok(Self {
                kernel,
                blocks,
                shared_bytes,
                args,
            });
        };
        Err(Error::device(format!(
            "`{}` cannot run on a grid of {x} x {y} x {z}: {problem}",
            kernel.name
        )))
    }

    /// What runs.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Blocks along x, y, z.
    pub fn blocks(&self) -> [u32; 3] {
        self.blocks
    }

    /// Dynamic shared memory of a block.
    pub fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// In the kernel's order.
    pub fn args(&self) -> &[Arg] {
        &self.args
    }
}

impl fmt::Display for Launch {
    /// `rms_norm_bf16 (grid 8192)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.blocks;
        write!(f, "{} (grid {x}", self.kernel.name)?;
        if (y, z) != (1, 1) {
            write!(f, " x {y} x {z}")?;
        }
        f.write_str(")")
    }
}
