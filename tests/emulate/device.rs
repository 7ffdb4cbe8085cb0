//! The emulator as a device of the crate: host memory, two streams of which one is as late as events allow, and, where
//! asked for, graphs and faults.
//!
//! On a GPU either stream may run ahead of the other as far as events let it. Here work of one stream is done when it is
//! enqueued, that of the late one only when somebody waits for it. A wait that is missing then shows as a wrong result:
//! with late copies where kernels should have waited, with late kernels where copies should have.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use gallop::{
    Error, Result,
    cuda::{
        Arg as CrateArg, Device, Launch as CrateLaunch, Memory,
        device::{Event, Graph, Pinned, Stream},
        tensor_map::{Element, Swizzle as CrateSwizzle, TensorMap as CrateMap, TensorMapSpec},
    },
    executor::Cancel,
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
    /// Whether FP8 products are summed as the hardware is reported to.
    truncates: bool,
    /// Number of launches enqueued before each ticket.
    marks: Mutex<HashMap<u64, usize>>,
    /// Bytes that may be allocated in all.
    capacity: usize,
    /// Whether launches can be recorded; otherwise there are no graphs.
    has_graphs: bool,
    /// A kernel that fails; as on a GPU, the next call that waits says so.
    failing: Option<&'static str>,
    launches: AtomicU64,
    launched: AtomicUsize,
    allocations: AtomicUsize,
    replays: AtomicUsize,
    used: Arc<AtomicUsize>,
    recording: Mutex<Option<Vec<CrateLaunch>>>,
    fault: Mutex<Option<String>>,
    /// The stream whose work is delayed.
    late: Stream,
    /// A wait that is not obeyed, by its number among those of its kind.
    ignored: Option<(Kind, usize)>,
    waits: Mutex<Vec<Kind>>,
    /// Cancels after this many launches.
    cancel: Mutex<Option<(usize, Cancel)>>,
    queues: Arc<Mutex<Queues>>,
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A stream, for an event.
    Stream(Stream),
    /// The host, for an event.
    Host,
}

/// What is not done yet, and which tickets have passed. An event holds the ticket it was last recorded with.
#[derive(Default)]
struct Queues {
    compute: VecDeque<Work>,
    copy: VecDeque<Work>,
    passed: HashSet<u64>,
    tickets: u64,
}

/// One entry of a stream.
enum Work {
    Launch(CrateLaunch),
    /// Host bytes at an address, to an address.
    Copy {
        to: u64,
        from: usize,
        bytes: usize,
    },
    Record(u64),
    Wait(Stream, u64),
}

/// The stream an event was last recorded on, and its ticket.
type Recorded = Mutex<Option<(Stream, u64)>>;

impl Queues {
    fn of(&mut self, queue: Stream) -> &mut VecDeque<Work> {
        match queue {
            Stream::Compute => &mut self.compute,
            Stream::Copy => &mut self.copy,
        }
    }
}

impl Emulated {
    /// A device whose launches run under `policy`, in orders that follow from `seed`.
    pub(crate) fn new(policy: Policy, seed: u64) -> Self {
        Self {
            emulator: Emulator::load().clone(),
            policy,
            seed,
            truncates: false,
            marks: Mutex::default(),
            capacity: 1 << 30,
            has_graphs: false,
            failing: None,
            launches: AtomicU64::new(0),
            launched: AtomicUsize::new(0),
            allocations: AtomicUsize::new(0),
            replays: AtomicUsize::new(0),
            used: Arc::new(AtomicUsize::new(0)),
            recording: Mutex::new(None),
            fault: Mutex::new(None),
            late: Stream::Copy,
            ignored: None,
            waits: Mutex::default(),
            cancel: Mutex::default(),
            queues: Arc::default(),
        }
    }

    /// The same with other kernels.
    pub(crate) fn with_kernels(self, emulator: Emulator) -> Self {
        Self { emulator, ..self }
    }

    /// The same with sums of FP8 products that keep 13 fraction bits.
    pub(crate) fn truncating(self) -> Self {
        Self {
            truncates: true,
            ..self
        }
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

    /// The same where the work of `stream` is put off.
    pub(crate) fn with_late(self, late: Stream) -> Self {
        Self { late, ..self }
    }

    /// The same where the `number`-th wait of its kind is not obeyed.
    pub(crate) fn ignoring(self, kind: Kind, number: usize) -> Self {
        Self {
            ignored: Some((kind, number)),
            ..self
        }
    }

    /// Asks `cancel` to stop the work when `count` launches were enqueued.
    pub(crate) fn cancel_at_launch(&self, count: usize, cancel: &Cancel) {
        *self.cancel.lock().unwrap() = Some((count, cancel.clone()));
    }

    /// Number of launches enqueued one by one.
    pub(crate) fn launches(&self) -> usize {
        self.launched.load(Ordering::Relaxed)
    }

    /// Number of waits of this kind.
    pub(crate) fn waits(&self, kind: Kind) -> usize {
        let waits = self.waits.lock().unwrap();
        waits.iter().filter(|&&other| other == kind).count()
    }

    /// Entries of both streams that are not done.
    pub(crate) fn queued(&self) -> usize {
        let queues = self.queues.lock().unwrap();
        queues.compute.len() + queues.copy.len()
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
        if self.failing == Some(kernel.name) {
            *self.fault.lock().unwrap() = Some("an illegal address was used".into());
            return Ok(());
        }
        let sizes = Launch {
            grid: launch.blocks(),
            block: kernel.threads,
            cluster: kernel.cluster,
            smem: launch.shared_bytes(),
            truncate: self.truncates,
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

    /// Counts a wait; false if it is to be ignored.
    fn obeys(&self, kind: Kind) -> bool {
        let number = self.waits(kind);
        self.waits.lock().unwrap().push(kind);
        self.ignored != Some((kind, number))
    }

    fn queue(&self, queue: Stream, work: Work) -> Result<()> {
        self.queues.lock().unwrap().of(queue).push_back(work);
        if queue == self.late {
            return Ok(());
        }
        self.drain(queue, None)
    }

    /// Runs the enqueued work, up to a ticket if one is given.
    fn drain(&self, queue: Stream, until: Option<u64>) -> Result<()> {
        loop {
            let is_done =
                |queues: &Queues| until.is_some_and(|ticket| queues.passed.contains(&ticket));
            let work = {
                let mut queues = self.queues.lock().unwrap();
                if is_done(&queues) {
                    return Ok(());
                }
                queues.of(queue).pop_front()
            };
            match work {
                None => return Ok(()),
                Some(Work::Launch(launch)) => self.run(&launch).inspect_err(|_| self.give_up())?,
                Some(Work::Copy { to, from, bytes }) => {
                    // SAFETY: the caller of `h2d_async` keeps the bytes until this is done; the memory they go to was
                    // inside an allocation, which its `Drop` finds gone too early, and nothing else runs now.
                    unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
                }
                Some(Work::Record(ticket)) => {
                    self.queues.lock().unwrap().passed.insert(ticket);
                }
                Some(Work::Wait(other, ticket)) => self.drain(other, Some(ticket))?,
            }
        }
    }

    /// After a failure nothing runs any more.
    fn give_up(&self) {
        let mut queues = self.queues.lock().unwrap();
        queues.compute.clear();
        queues.copy.clear();
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
    queues: Arc<Mutex<Queues>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.used.fetch_sub(self.size, Ordering::Relaxed);
        let start = self.bytes.as_ptr() as u64 + self.start as u64;
        let inside = |work: &Work| match work {
            Work::Copy { to, .. } => (start..start + self.size as u64).contains(to),
            Work::Launch(_) => true,
            Work::Record(_) | Work::Wait(..) => false,
        };
        let queues = self.queues.lock().unwrap();
        let is_used = queues.compute.iter().chain(&queues.copy).any(inside);
        drop(queues);
        assert!(
            !is_used || std::thread::panicking(),
            "memory was freed under queued work"
        );
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

    fn capability(&self) -> (u32, u32) {
        (9, 0)
    }

    fn num_sms(&self) -> u32 {
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
                hint: None,
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
            queues: self.queues.clone(),
        };
        let address = owned.bytes[start..].as_mut_ptr() as u64;
        // SAFETY: the bytes from `address` on are those of `owned`, on the host, where the emulator runs.
        Ok(unsafe { Memory::new(address, bytes, owned) })
    }

    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>> {
        Ok(Box::new(vec![0; bytes]))
    }

    fn fill(&self, to: &Memory, part: Range<usize>, value: u8) -> Result<()> {
        self.drain(Stream::Compute, None)?;
        bytes_of(to, part).fill(value);
        Ok(())
    }

    fn h2d(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        self.drain(Stream::Compute, None)?;
        let bytes = from.len();
        bytes_of(to, offset..offset + bytes).copy_from_slice(from);
        Ok(())
    }

    fn d2h(&self, from: &Memory, offset: usize, to: &mut [u8]) -> Result<()> {
        self.drain(Stream::Compute, None)?;
        let bytes = to.len();
        to.copy_from_slice(bytes_of(from, offset..offset + bytes));
        Ok(())
    }

    unsafe fn h2d_async(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        let bytes = from.len();
        let work = Work::Copy {
            to: to.address(offset..offset + bytes),
            from: from.as_ptr() as usize,
            bytes,
        };
        self.queue(Stream::Copy, work)
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
        let map = self.emulator.tensor_map(
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
        let launched = self.launched.fetch_add(1, Ordering::Relaxed);
        if let Some((count, cancel)) = &*self.cancel.lock().unwrap()
            && launched == *count
        {
            cancel.cancel();
        }
        self.queue(Stream::Compute, Work::Launch(launch.clone()))
    }

    fn event(&self) -> Result<Event> {
        Ok(Event::new(Recorded::default()))
    }

    fn record(&self, event: &Event, queue: Stream) -> Result<()> {
        let event: &Recorded = event.of()?;
        let ticket = {
            let mut queues = self.queues.lock().unwrap();
            queues.tickets += 1;
            queues.tickets
        };
        *event.lock().unwrap() = Some((queue, ticket));
        self.marks.lock().unwrap().insert(ticket, self.launches());
        self.queue(queue, Work::Record(ticket))
    }

    fn wait(&self, queue: Stream, event: &Event) -> Result<()> {
        let event: &Recorded = event.of()?;
        let recorded = *event.lock().unwrap();
        match recorded.filter(|_| self.obeys(Kind::Stream(queue))) {
            Some((other, ticket)) => self.queue(queue, Work::Wait(other, ticket)),
            None => Ok(()),
        }
    }

    fn finish(&self, event: &Event) -> Result<()> {
        let event: &Recorded = event.of()?;
        let recorded = *event.lock().unwrap();
        if let Some((queue, ticket)) = recorded.filter(|_| self.obeys(Kind::Host)) {
            self.drain(queue, Some(ticket))?;
        }
        self.waited()
    }

    /// A launch takes a millisecond, a time without one a thousandth of it.
    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        let marks = self.marks.lock().unwrap();
        let launches = |event: &Event| -> Result<usize> {
            let recorded = *event.of::<Recorded>()?.lock().unwrap();
            Ok(recorded.map_or(0, |(_, ticket)| marks[&ticket]))
        };
        let count = launches(to)? - launches(from)?;
        Ok((count as f32).max(0.001))
    }

    fn synchronize(&self) -> Result<()> {
        self.drain(Stream::Compute, None)?;
        self.drain(Stream::Copy, None)?;
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
        let mut launches = recorded.iter().cloned();
        launches.try_for_each(|launch| self.queue(Stream::Compute, Work::Launch(launch)))
    }
}

/// The bytes behind a part of a memory of this device.
#[allow(
    clippy::mut_from_ref,
    reason = "as on a GPU, who uses memory when is the program's care"
)]
fn bytes_of(memory: &Memory, part: Range<usize>) -> &mut [u8] {
    let bytes = part.len();
    let address = memory.address(part) as *mut u8;
    // SAFETY: `address` checked that the part is inside, and the memory owns its bytes and lives. Nothing else refers to
    // them: kernels run and copies happen one after the other.
    unsafe { std::slice::from_raw_parts_mut(address, bytes) }
}

fn arg(arg: &CrateArg) -> Arg {
    match arg {
        CrateArg::Address(value) => Arg::Pointer(*value),
        CrateArg::Int(value) => Arg::Int(*value),
        CrateArg::Long(value) => Arg::Long(*value),
        CrateArg::Float(value) => Arg::Float(*value),
        CrateArg::Structure(words) => Arg::structure(words),
        CrateArg::Map(map) => {
            let mut words = [0; 16];
            for (word, &bytes) in words.iter_mut().zip(map.0.as_chunks().0) {
                *word = u64::from_ne_bytes(bytes);
            }
            Arg::Map(TensorMap(words))
        }
    }
}
