//! What an executor needs of a GPU, and nothing more: memory, launches, tensor maps, two streams, events, graphs.
//!
//! Two devices implement it: the CUDA driver ([`super::driver::Driver`]) and the emulator that the tests run kernels
//! on; the trait stays narrow so that both can. Work runs in the order of its stream; the two streams run concurrently
//! and are ordered by [`Event`]s. Only methods that say so allocate.

#![allow(
    unsafe_code,
    reason = "only the caller of a launch knows what the kernel does with its arguments"
)]

use std::{any::Any, fmt, marker::PhantomData, ops::Range};

use super::{
    arguments::{Arg, Arguments, Dev, DevMut, Entry, Instance, Kernel},
    tensor_map::{TensorMap, TensorMapSpec},
};
use crate::{Error, Result};

/// The most dynamic shared memory a block may ask for on Hopper: 227 KiB.
pub const SHARED_BYTES_MAX: u32 = 227 * 1024;

/// A GPU, or its emulator. It takes only memory that it allocated itself.
///
/// Every method that returns a `Result` fails with [`Error::Device`] if the device does. Faults of earlier work on the
/// streams may show there too.
pub trait Device: Send + Sync {
    /// For messages and reports: `NVIDIA H200 (cuda:0)`.
    fn name(&self) -> String;

    /// Compute capability, major and minor.
    fn capability(&self) -> (u32, u32);

    /// Streaming multiprocessors: a persistent kernel launches one block on each.
    fn num_sms(&self) -> u32;

    /// Bytes of free memory.
    fn free_bytes(&self) -> Result<u64>;

    /// Allocates uninitialised memory, aligned to 256 bytes; `for_what` ends the message if there is too little.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is too little.
    fn alloc(&self, bytes: usize, for_what: &str) -> Result<Memory>;

    /// Allocates pinned host memory: the device copies from it while the host goes on.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is too little.
    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>>;

    /// Sets the bytes of `part` of `to` to `value`, on the compute stream.
    ///
    /// # Panics
    /// If the part is not inside.
    fn fill(&self, to: &Memory, part: Range<usize>, value: u8) -> Result<()>;

    /// Copies host bytes to byte `offset` of `to` after all work of the compute stream, and waits.
    ///
    /// # Panics
    /// If the bytes exceed `to`.
    fn h2d(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()>;

    /// Copies bytes from byte `offset` of `from` to the host after all work of the compute stream, and waits.
    ///
    /// # Panics
    /// If the bytes exceed `from`.
    fn d2h(&self, from: &Memory, offset: usize, to: &mut [u8]) -> Result<()>;

    /// Copies host bytes to byte `offset` of `to` on the copy stream, without waiting.
    ///
    /// # Panics
    /// If the bytes exceed `to`.
    ///
    /// # Safety
    /// `from` must stay unchanged until an event recorded later on the copy stream has passed.
    unsafe fn h2d_async(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()>;

    /// Encodes a tensor map for TMA.
    ///
    /// # Errors
    /// [`Error::Device`] if the hardware cannot do it ([`TensorMapSpec::check`]).
    fn tensor_map(&self, spec: &TensorMapSpec) -> Result<TensorMap>;

    /// Enqueues a kernel on the compute stream.
    ///
    /// # Errors
    /// [`Error::Device`] with the kernel's name; a fault inside the kernel shows at a later call.
    ///
    /// # Safety
    /// The arguments must be what the kernel's header asks for: every address points to live memory of this device
    /// as large and as aligned as the kernel reads and writes for these sizes and this grid.
    unsafe fn launch(&self, launch: &Launch) -> Result<()>;

    /// Allocates an event, not yet recorded.
    fn event(&self) -> Result<Event>;

    /// Records an event on a stream: it passes when all work enqueued there before is done.
    fn record(&self, event: &Event, stream: Stream) -> Result<()>;

    /// Lets later work of a stream wait for an event.
    fn wait(&self, stream: Stream, event: &Event) -> Result<()>;

    /// Waits on the host until an event has passed.
    fn finish(&self, event: &Event) -> Result<()>;

    /// Milliseconds between two events that have passed.
    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32>;

    /// Waits on the host until both streams are empty.
    fn synchronize(&self) -> Result<()>;

    /// Captures what `work` enqueues on the compute stream as a graph, without running it. A device without graphs gives
    /// `None` and does not call `work`: the caller then launches one by one.
    ///
    /// # Errors
    /// Those of `work`.
    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Graph>>;

    /// Enqueues a graph on the compute stream.
    ///
    /// # Safety
    /// Every launch of the graph must meet the conditions of [`Device::launch`] again: its memory must live.
    unsafe fn replay(&self, graph: &Graph) -> Result<()>;
}

/// The two streams of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Kernels, and copies that belong between them.
    Compute,
    /// Weights on their way to the device.
    Copy,
}

/// What a handle keeps alive; dropping it frees it.
type Owner = Box<dyn Any + Send + Sync>;

/// Device memory; freed when dropped, after all enqueued work.
pub struct Memory {
    address: u64,
    bytes: usize,
    _owner: Owner,
}

impl Memory {
    /// `bytes` of memory at `address`, which dropping `owner` frees.
    ///
    /// # Safety
    /// The device must be able to read and write all of it until `owner` is dropped.
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

/// A handle whose content only its device knows.
pub struct Handle<Of> {
    owner: Owner,
    of: PhantomData<fn() -> Of>,
}

/// A point in a stream.
pub type Event = Handle<EventMark>;
/// Captured launches.
pub type Graph = Handle<GraphMark>;

/// Says that a [`Handle`] is an event.
pub enum EventMark {}
/// Says that a [`Handle`] is a graph.
pub enum GraphMark {}

impl<Of> Handle<Of> {
    /// Wraps the device's own handle.
    pub fn new(owner: impl Any + Send + Sync) -> Self {
        Self {
            owner: Box::new(owner),
            of: PhantomData,
        }
    }

    /// The device's own handle.
    ///
    /// # Errors
    /// [`Error::Device`] if another kind of device made it.
    pub fn of<T: Any>(&self) -> Result<&T> {
        self.owner
            .downcast_ref()
            .ok_or_else(|| Error::device("a handle of one device was given to another"))
    }
}

/// A kernel with its arguments, ready to be enqueued any number of times.
#[derive(Clone, Debug)]
pub struct Launch {
    kernel: Kernel,
    blocks: [u32; 3],
    shared_bytes: u32,
    args: Vec<Arg>,
}

impl Launch {
    /// A checked launch. `blocks` is the grid's x, y, z; `shared_bytes` the dynamic shared memory of a block.
    ///
    /// # Errors
    /// [`Error::Device`] for a grid that is empty, too large or no multiple of the cluster, and for more shared memory
    /// than a block may have.
    pub fn new<E: Entry>(entry: &E, blocks: [u32; 3], shared_bytes: u32) -> Result<Self> {
        Self::of(E::KERNEL, entry.args(), blocks, shared_bytes)
    }

    /// A launch of the instance of `all` for the element types of `args`; `None` if there is none.
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

    /// The entry point.
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

    /// The arguments in the kernel's order.
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
