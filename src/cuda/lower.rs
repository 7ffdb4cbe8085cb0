//! From steps to launches: which kernels run a step or a fused run of steps, with which arguments.
//!
//! Lowering is a pure function of the plan and of where its memory starts. It is done twice: at addresses where
//! nothing lies, to learn whether there is a kernel for everything and how much memory that takes, and again when the
//! memory is there.

#![allow(
    unsafe_code,
    reason = "that arguments are what a kernel asks for is a promise of each launch function"
)]

use std::ops::Range;

use super::{
    arena::{Bases, Layout, Tables, View},
    arguments::{Dev, Entry},
    device::{Device, Launch},
    fuse, launch,
    params::{AttentionTile, GemmTile},
    tensor_map::{TensorMap, TensorMapSpec},
};
use crate::{
    DType, Error, Result, Shape,
    plan::{Buf, Plan, Step},
};

/// A launch whose arguments are what its kernel asks for, if the memory it was lowered for is there.
#[derive(Debug)]
pub(super) struct Sound(Launch);

impl Sound {
    /// Vouches for `launch`.
    ///
    /// # Safety
    /// If [`Context::bases`] are where memory as large as the layout says starts, then the arguments are what the
    /// kernel's header asks for: every address points into that memory, to at least as many elements as the kernel
    /// reads and writes for these sizes and this grid, aligned as it needs.
    unsafe fn new(launch: Launch) -> Self {
        Self(launch)
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

    /// What to launch.
    pub(super) fn launch(&self) -> &Launch {
        &self.0
    }
}

/// Consecutive steps that run as one, and their launches in order.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) steps: Range<usize>,
    pub(super) launches: Vec<Sound>,
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

/// What lowering needs besides the steps.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) layout: &'a Layout,
    /// Where its memory starts; nowhere before there is any.
    pub(super) bases: Option<Bases>,
    pub(super) device: &'a dyn Device,
    /// Whether rows of the table of fused steps apply.
    pub(super) fuse: bool,
}

/// Launches for all steps, and the tables they read.
///
/// # Errors
/// [`Error::Device`] naming the first op that no kernel runs, with its label.
pub(super) fn lower(context: &Context<'_>) -> Result<(Vec<Unit>, Tables)> {
    let mut tables = Tables::new(context.bases.unwrap_or(Bases::NOWHERE).tables);
    let mut units = Vec::new();
    let readers = fuse::readers(context.plan);
    let mut at = 0;
    while at < context.plan.steps().len() {
        let unit = next_unit(context, &readers, at, &mut tables)?;
        at = unit.steps.end;
        units.push(unit);
    }
    Ok((units, tables))
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
    for (steps, row) in rows.into_iter().flatten() {
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
            });
        }
    }
    site.steps = &context.plan.steps()[at..=at];
    Ok(Unit {
        steps: at..at + 1,
        launches: launch::step(&mut site)?,
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
        let Context {
            plan,
            layout,
            bases,
            ..
        } = *self.context;
        layout.view(plan, buf, bases.unwrap_or(Bases::NOWHERE))
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
        let Context { layout, bases, .. } = *self.context;
        layout.workspace(bases.unwrap_or(Bases::NOWHERE))
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
        if self.context.bases.is_none() {
            // Of memory that is not there a driver might refuse to make a map.
            return spec.check().map(|()| TensorMap([0; 128]));
        }
        self.context.device.tensor_map(spec)
    }

    /// The device that will run it.
    pub(super) fn device(&self) -> &dyn Device {
        self.context.device
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
            self.context.device.name(),
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
    i32::try_from(size)
        .map_err(|_| Error::device(format!("a size of {size} is more than kernels count to")))
}

/// A number of blocks.
///
/// # Errors
/// [`Error::Device`] beyond what a grid holds.
pub(super) fn blocks(count: usize) -> Result<u32> {
    int(count).map(i32::unsigned_abs)
}
