//! From steps to launches: which kernels run a step or a fused run of steps, with which arguments.
//!
//! Lowering is a pure function of the plan and of where its memory starts. It is done twice: at addresses where
//! nothing lies, to learn whether there is a kernel for everything and how much memory that takes, and again when the
//! memory is there.

#![allow(
    unsafe_code,
    reason = "that arguments are what a kernel asks for is a promise of each launch function"
)]

use std::{ops::Range, sync::Arc};

use super::{
    arena::{Bases, Layout, Tables, View},
    arguments::{Dev, Entry},
    cublaslt::{Gemm, Operands},
    device::{Device, Launch},
    fuse, launch,
    params::{AttentionTile, GemmTile},
    products::{Library, Way},
    tensor_map::{TensorMap, TensorMapSpec},
};
use crate::{
    DType, Error, Result, Shape,
    plan::{Buf, Plan, Step},
};

/// A launch whose arguments are what its kernel asks for, if the memory it was lowered for is there; or a library's
/// product, of which the same holds.
pub(super) struct Sound(Work);

enum Work {
    Kernel(Launch),
    Library(Arc<dyn Way>),
}

impl Sound {
    /// Vouches for `launch`.
    ///
    /// # Safety
    /// If [`Context::memory`] says where memory as large as the layout says starts, then the arguments are what the
    /// kernel's header asks for: every address points into that memory, to at least as many elements as the kernel
    /// reads and writes for these sizes and this grid, aligned as it needs.
    unsafe fn new(launch: Launch) -> Self {
        Self(Work::Kernel(launch))
    }

    /// Vouches for a library's product.
    ///
    /// # Safety
    /// As for [`Sound::new`].
    pub(super) unsafe fn by_library(way: Arc<dyn Way>) -> Self {
        Self(Work::Library(way))
    }

    /// The kernel's name, or the library's.
    pub(super) fn name(&self) -> &'static str {
        match &self.0 {
            Work::Kernel(launch) => launch.kernel().name,
            Work::Library(way) => way.name(),
        }
    }

    /// Queues it on the compute queue.
    ///
    /// # Errors
    /// The device's, or the library's.
    ///
    /// # Safety
    /// The memory it was lowered for is there, tables included, until it is done.
    pub(super) unsafe fn queue(&self, device: &dyn Device) -> Result<()> {
        match &self.0 {
            // SAFETY: whoever made it vouched for the arguments; the memory is the caller's promise.
            Work::Kernel(launch) => unsafe { device.launch(launch) },
            // SAFETY: as above.
            Work::Library(way) => unsafe { way.queue() },
        }
    }

    /// A launch of `entry` on a grid, without dynamic shared memory, for memory that is there already.
    ///
    /// # Errors
    /// [`Error::Device`] for a grid that no kernel can have.
    ///
    /// # Safety
    /// As for [`Sound::new`], of the memory that the arguments point into.
    pub(super) unsafe fn of<E: Entry>(entry: &E, grid: [u32; 3]) -> Result<Self> {
        let launch = Launch::new(entry, grid, 0)?;
        // SAFETY: the caller vouches for the arguments.
        Ok(unsafe { Self::new(launch) })
    }
}

/// Consecutive steps that run as one, and their launches in order.
pub(super) struct Unit {
    pub(super) steps: Range<usize>,
    pub(super) launches: Vec<Sound>,
    /// What a library could compute instead.
    pub(super) products: Vec<(Gemm, Operands)>,
    /// Values that the launches do not write, because no other step reads them.
    pub(super) unwritten: Vec<Buf>,
}

// SAFETY: four ints and no padding, as its 16 bytes in `params.rs` say.
unsafe impl bytemuck::Zeroable for GemmTile {}
// SAFETY: as above; any ints are a tile.
unsafe impl bytemuck::Pod for GemmTile {}

// SAFETY: ten ints and no padding: 40 bytes.
unsafe impl bytemuck::Zeroable for AttentionTile {}
// SAFETY: as above; any ints are a tile.
unsafe impl bytemuck::Pod for AttentionTile {}

/// What launches depend on besides memory.
pub(super) struct Target {
    name: String,
    multiprocessors: u32,
}

impl Target {
    /// As `device` says.
    pub(super) fn of(device: &dyn Device) -> Self {
        Self {
            name: device.name(),
            multiprocessors: device.multiprocessors(),
        }
    }

    /// An H100 or H200, which need not be there.
    pub(super) fn hopper() -> Self {
        Self {
            name: "a Hopper GPU".into(),
            multiprocessors: 132,
        }
    }

    /// Streaming multiprocessors: the blocks of a persistent kernel.
    pub(super) fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }
}

/// What lowering needs besides the steps.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) layout: &'a Layout,
    /// Where its memory starts, and the device that it is of; none before there is any.
    pub(super) memory: Option<(Bases, &'a dyn Device)>,
    pub(super) target: &'a Target,
    /// Whether rows of the table of fused steps apply.
    pub(super) fuse: bool,
    /// What may compute products instead of our own kernel.
    pub(super) library: Option<&'a Library>,
}

impl Context<'_> {
    fn bases(&self) -> Bases {
        self.memory.map_or(Bases::NOWHERE, |(bases, _)| bases)
    }
}

/// Launches for all steps, and the tables they read.
///
/// # Errors
/// [`Error::Device`] naming the first op that no kernel runs, with its label.
pub(super) fn lower(context: &Context<'_>) -> Result<(Vec<Unit>, Tables)> {
    let mut tables = Tables::new(context.bases().tables);
    let mut units = Vec::new();
    let readers = fuse::readers(context.plan);
    let mut at = 0;
    while at < context.plan.steps().len() {
        let unit = next_unit(context, &readers, at, &mut tables);
        let unit = unit.map_err(|error| located(context.plan, at, error))?;
        at = unit.steps.end;
        units.push(unit);
    }
    Ok((units, tables))
}

/// The error with the op and label of step `at`, unless it names them.
fn located(plan: &Plan, at: usize, error: Error) -> Error {
    let step = &plan.steps()[at];
    let (op, label) = (step.op.name(), &plan.spec(step.writes).label);
    match error {
        Error::Device { problem } if !problem.contains(label.as_str()) => {
            Error::device(format!("{op} at {label}: {problem}"))
        }
        error => error,
    }
}

fn next_unit(
    context: &Context<'_>,
    readers: &[usize],
    at: usize,
    tables: &mut Tables,
) -> Result<Unit> {
    let mut site = Site {
        context,
        steps: &[],
        tables,
    };
    let rows = context
        .fuse
        .then(|| fuse::rows_at(context.plan, readers, at));
    site.steps = &context.plan.steps()[at..=at];
    // A value that a row of steps leaves out has no place for a library either.
    let products = match context.library {
        Some(_) if site.has_places(&[]) => launch::library::products(&mut site),
        _ => Vec::new(),
    };
    let is_taken = context.library.is_some_and(Library::takes_all) && !products.is_empty();
    for (steps, row) in rows.into_iter().flatten().filter(|_| !is_taken) {
        site.steps = &context.plan.steps()[steps.clone()];
        let unwritten = row.unwritten(site.steps);
        if !site.has_places(&unwritten) {
            continue;
        }
        if let Some(launches) = (row.launch)(&mut site)? {
            return Ok(Unit {
                steps,
                launches,
                unwritten,
                products: Vec::new(),
            });
        }
    }
    site.steps = &context.plan.steps()[at..=at];
    Ok(Unit {
        steps: at..at + 1,
        launches: launch::step(&mut site)?,
        products,
        unwritten: Vec::new(),
    })
}

/// What a launch function sees: the steps it is to run, and where their buffers lie.
pub(super) struct Site<'a> {
    context: &'a Context<'a>,
    /// One step, or those of a row of the fused table.
    pub(super) steps: &'a [Step],
    tables: &'a mut Tables,
}

impl Site<'_> {
    /// Whether everything but what is `unwritten` lies somewhere: not where another row, which was found to apply
    /// before there was memory, leaves out what this one asks for.
    fn has_places(&self, unwritten: &[Buf]) -> bool {
        let Context { plan, layout, .. } = *self.context;
        let touched = self
            .steps
            .iter()
            .flat_map(|step| step.reads.iter().chain([&step.writes]));
        let mut asked_for = touched.filter(|buf| !unwritten.contains(buf));
        asked_for.all(|&buf| layout.has_place(plan, buf))
    }

    /// A buffer for kernels.
    pub(super) fn view(&self, buf: Buf) -> View {
        let context = self.context;
        context.layout.view(context.plan, buf, context.bases())
    }

    /// Argument `index` of the first step.
    pub(super) fn read(&self, index: usize) -> View {
        self.view(self.steps[0].reads[index])
    }

    /// The result of the last step.
    pub(super) fn write(&self) -> View {
        self.view(self.steps[self.steps.len() - 1].writes)
    }

    /// Address of a constant table that launches read.
    pub(super) fn table<T: bytemuck::NoUninit>(&mut self, values: &[T]) -> Dev<T> {
        Dev::new(self.tables.add(bytemuck::cast_slice(values)))
    }

    /// Address of `bytes` for what these launches hand to one another; those of the next unit use them again.
    pub(super) fn workspace(&mut self, bytes: usize) -> u64 {
        self.tables.ask_for_workspace(bytes);
        self.context.layout.workspace(self.context.bases())
    }

    /// A launch of `entry` on a grid.
    ///
    /// # Errors
    /// [`Error::Device`] for a grid or a size of shared memory that no kernel can have.
    ///
    /// # Safety
    /// As for [`Sound::new`].
    pub(super) unsafe fn launch<E: Entry>(
        &self,
        entry: &E,
        grid: [u32; 3],
        shared_bytes: u32,
    ) -> Result<Vec<Sound>> {
        let launch = Launch::new(entry, grid, shared_bytes)?;
        // SAFETY: the caller vouches for the arguments.
        Ok(vec![unsafe { Sound::new(launch) }])
    }

    /// Element type of a buffer, one that has no place included.
    pub(super) fn dtype(&self, buf: Buf) -> DType {
        self.context.plan.spec(buf).dtype
    }

    /// Extents of a buffer.
    pub(super) fn shape(&self, buf: Buf) -> &Shape {
        &self.context.plan.spec(buf).shape
    }

    /// How bulk copies see a tensor.
    ///
    /// # Errors
    /// [`Error::Device`] for what the hardware cannot do.
    pub(super) fn map(&self, spec: &TensorMapSpec) -> Result<TensorMap> {
        match self.context.memory {
            Some((_, device)) => device.tensor_map(spec),
            // Of memory that is not there a driver might refuse to make a map.
            None => spec.check().map(|()| TensorMap([0; 128])),
        }
    }

    /// The device that will run it.
    pub(super) fn device(&self) -> &Target {
        self.context.target
    }

    /// That no kernel does this, and why.
    pub(super) fn refusal(&self, why: &str) -> Error {
        let plan = self.context.plan;
        let step = &self.steps[0];
        let types = step.reads.iter().map(|&buf| {
            let spec = plan.spec(buf);
            format!("{} {}", spec.dtype, spec.shape)
        });
        let types: Vec<String> = types.collect();
        let result = plan.spec(step.writes);
        Error::device(format!(
            "`{}` cannot run {} at {} ({} to {} {}): {why}; use --device cpu",
            self.context.target.name,
            step.op.name(),
            result.label,
            types.join(", "),
            result.dtype,
            result.shape
        ))
    }
}

/// A size for a kernel that takes an `int`.
///
/// # Errors
/// [`Error::Device`] beyond 2147483647.
pub(super) fn int(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| {
        Error::device(format!(
            "a size of {size} is more than kernels count to; take a smaller --size"
        ))
    })
}

/// A number of blocks.
///
/// # Errors
/// [`Error::Device`] beyond what a grid holds.
pub(super) fn blocks(count: usize) -> Result<u32> {
    int(count).map(i32::unsigned_abs)
}
