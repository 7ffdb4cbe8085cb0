//! The emulator as a device of the crate: host memory, launches that run at once, and, where asked for, graphs and
//! faults.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use gallop::{
    Error, Result,
    cuda::{
        Arg as CrateArg, Device, Launch as CrateLaunch, Memory,
        device::{Event, Graph, Part, Pinned, Queue},
        tensor_map::{Element, Swizzle as CrateSwizzle, TensorMap as CrateMap, TensorMapSpec},
    },
};

use super::{Arg, Emulator, Launch, MapType, Policy, Run, Swizzle, TensorMap};

/// A GPU of few multiprocessors, so that blocks of persistent kernels do several tiles each.
const MULTIPROCESSORS: u32 = 3;
/// A NaN in every float type.
const POISON: u8 = 0xff;
const GUARD: u8 = 0xa5;
const GUARD_BYTES: usize = 256;

/// The emulator; each launch gets a seed of its own.
pub(crate) struct Emulated {
    emulator: Emulator,
    policy: Policy,
    seed: u64,
    /// Bytes that may be allocated in all.
    capacity: usize,
    /// Whether launches can be recorded; otherwise there are no graphs.
    has_graphs: bool,
    /// A kernel that fails; as on a GPU, the next call that waits says so.
    failing: Option<&'static str>,
    launches: AtomicU64,
    allocations: AtomicUsize,
    replays: AtomicUsize,
    used: Arc<AtomicUsize>,
    recording: Mutex<Option<Vec<CrateLaunch>>>,
    fault: Mutex<Option<String>>,
}

impl Emulated {
    /// A device whose launches run under `policy`, in orders that follow from `seed`.
    pub(crate) fn new(policy: Policy, seed: u64) -> Self {
        Self {
            emulator: Emulator::load().clone(),
            policy,
            seed,
            capacity: 1 << 30,
            has_graphs: false,
            failing: None,
            launches: AtomicU64::new(0),
            allocations: AtomicUsize::new(0),
            replays: AtomicUsize::new(0),
            used: Arc::new(AtomicUsize::new(0)),
            recording: Mutex::new(None),
            fault: Mutex::new(None),
        }
    }

    /// The same with other kernels.
    pub(crate) fn with_kernels(self, emulator: Emulator) -> Self {
        Self { emulator, ..self }
    }

    /// The same with so many bytes of memory.
    pub(crate) fn with_capacity(self, capacity: usize) -> Self {
        Self { capacity, ..self }
    }

    /// The same with graphs.
    pub(crate) fn with_graphs(self) -> Self {
        Self {
            has_graphs: true,
            ..self
        }
    }

    /// The same where `kernel` fails.
    pub(crate) fn failing(self, kernel: &'static str) -> Self {
        Self {
            failing: Some(kernel),
            ..self
        }
    }

    /// How many times memory was allocated.
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Relaxed)
    }

    /// How many times a graph ran.
    pub(crate) fn replays(&self) -> usize {
        self.replays.load(Ordering::Relaxed)
    }

    fn run(&self, launch: &CrateLaunch) -> Result<()> {
        let kernel = launch.kernel();
        let sizes = Launch {
            grid: launch.blocks(),
            block: kernel.threads,
            cluster: kernel.cluster,
            smem: launch.shared_bytes(),
            truncate: false,
        };
        let number = self.launches.fetch_add(1, Ordering::Relaxed);
        let run = Run {
            seed: self.seed * 1_000_003 + number,
            policy: self.policy,
        };
        let args: Vec<Arg> = launch.args().iter().map(arg).collect();
        let outcome = self.emulator.launch(kernel.name, &sizes, run, &args);
        outcome.map_err(|problem| Error::device(format!("{launch}, {run}: {problem}")))
    }

    fn waited(&self) -> Result<()> {
        let fault = self.fault.lock().unwrap().take();
        fault.map_or(Ok(()), |fault| Err(Error::device(fault)))
    }
}

/// What a [`Memory`] of this device owns: bytes between two guards that must survive.
struct Owned {
    bytes: Vec<u8>,
    start: usize,
    size: usize,
    used: Arc<AtomicUsize>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.used.fetch_sub(self.size, Ordering::Relaxed);
        let (before, rest) = self.bytes.split_at(self.start);
        let intact = before
            .iter()
            .chain(&rest[self.size..])
            .all(|&byte| byte == GUARD);
        assert!(
            intact || std::thread::panicking(),
            "a kernel wrote beside the {} bytes of an allocation",
            self.size
        );
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "emulator".into()
    }

    fn multiprocessors(&self) -> u32 {
        MULTIPROCESSORS
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok((self.capacity - self.used.load(Ordering::Relaxed)) as u64)
    }

    fn alloc(&self, bytes: usize, for_what: &str) -> Result<Memory> {
        let have = self.free_bytes()?;
        if bytes as u64 > have {
            return Err(Error::Memory {
                need_bytes: bytes as u64,
                have_bytes: have,
                for_what: for_what.into(),
            });
        }
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        let mut all = vec![GUARD; bytes + 2 * GUARD_BYTES];
        let start = all.as_ptr().align_offset(GUARD_BYTES);
        all[start..start + bytes].fill(POISON);
        let mut owned = Owned {
            start,
            size: bytes,
            bytes: all,
            used: self.used.clone(),
        };
        let address = owned.bytes[start..].as_mut_ptr() as u64;
        // SAFETY: the bytes from `address` on are those of `owned`, on the host, where the emulator runs.
        Ok(unsafe { Memory::new(address, bytes, owned) })
    }

    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>> {
        Ok(Box::new(vec![0; bytes]))
    }

    fn fill(&self, to: &Memory, part: Part, value: u8) -> Result<()> {
        bytes_of(to, part).fill(value);
        Ok(())
    }

    fn copy_in(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        let bytes = from.len();
        bytes_of(to, Part { offset, bytes }).copy_from_slice(from);
        Ok(())
    }

    fn copy_out(&self, from: &Memory, offset: usize, to: &mut [u8]) -> Result<()> {
        let bytes = to.len();
        to.copy_from_slice(bytes_of(from, Part { offset, bytes }));
        Ok(())
    }

    unsafe fn copy_in_later(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        self.copy_in(to, offset, from)
    }

    fn tensor_map(&self, spec: &TensorMapSpec) -> Result<CrateMap> {
        spec.check()?;
        let kind = match spec.element {
            Element::Byte => MapType::U8,
            Element::Bf16 => MapType::Bf16,
            Element::F32 => MapType::F32,
        };
        let swizzle = match spec.swizzle {
            CrateSwizzle::None => Swizzle::None,
            CrateSwizzle::Bytes32 => Swizzle::B32,
            CrateSwizzle::Bytes64 => Swizzle::B64,
            CrateSwizzle::Bytes128 => Swizzle::B128,
        };
        let reversed = |values: &[u64]| values.iter().rev().copied().collect::<Vec<_>>();
        let sides: Vec<u32> = spec.box_sizes.iter().rev().copied().collect();
        let map = Emulator::load().tensor_map(
            (kind, spec.address),
            &reversed(&spec.sizes),
            &reversed(&spec.strides_bytes),
            &sides,
            swizzle,
        );
        let TensorMap(words) = map.map_err(Error::device)?;
        let mut bytes = [0; 128];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_ne_bytes();
        }
        Ok(CrateMap(bytes))
    }

    unsafe fn launch(&self, launch: &CrateLaunch) -> Result<()> {
        if let Some(recorded) = &mut *self.recording.lock().unwrap() {
            recorded.push(launch.clone());
            return Ok(());
        }
        if self.failing == Some(launch.kernel().name) {
            *self.fault.lock().unwrap() = Some("an illegal address was used".into());
            return Ok(());
        }
        self.run(launch)
    }

    fn event(&self) -> Result<Event> {
        Ok(Event::new(()))
    }

    fn record(&self, _: &Event, _: Queue) -> Result<()> {
        Ok(())
    }

    fn wait(&self, _: Queue, _: &Event) -> Result<()> {
        Ok(())
    }

    fn finish(&self, _: &Event) -> Result<()> {
        self.waited()
    }

    fn elapsed_ms(&self, _: &Event, _: &Event) -> Result<f32> {
        Ok(1.0)
    }

    fn synchronise(&self) -> Result<()> {
        self.waited()
    }

    fn capture(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Graph>> {
        if !self.has_graphs {
            return Ok(None);
        }
        *self.recording.lock().unwrap() = Some(Vec::new());
        let outcome = work();
        let recorded = self.recording.lock().unwrap().take();
        outcome.map(|()| recorded.map(Graph::new))
    }

    unsafe fn replay(&self, graph: &Graph) -> Result<()> {
        self.replays.fetch_add(1, Ordering::Relaxed);
        let recorded: &Vec<CrateLaunch> = graph.of()?;
        recorded.iter().try_for_each(|launch| self.run(launch))
    }
}

/// The bytes behind a part of a memory of this device.
#[allow(
    clippy::mut_from_ref,
    reason = "as on a GPU, who uses memory when is the program's care"
)]
fn bytes_of(memory: &Memory, part: Part) -> &mut [u8] {
    let address = memory.address(part) as *mut u8;
    // SAFETY: `address` checked that the part is inside, and the memory owns its bytes and lives. Nothing else refers to
    // them: kernels run and copies happen one after the other.
    unsafe { std::slice::from_raw_parts_mut(address, part.bytes) }
}

fn arg(arg: &CrateArg) -> Arg {
    match arg {
        CrateArg::Address(value) => Arg::Pointer(*value),
        CrateArg::Int(value) => Arg::Int(*value),
        CrateArg::Long(value) => Arg::Long(*value),
        CrateArg::Float(value) => Arg::Float(*value),
        CrateArg::Map(map) => {
            let mut words = [0; 16];
            for (word, &bytes) in words.iter_mut().zip(map.0.as_chunks().0) {
                *word = u64::from_ne_bytes(bytes);
            }
            Arg::Map(TensorMap(words))
        }
    }
}
