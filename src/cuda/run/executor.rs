//! Prepares plans to run on a [`Device`].
//!
//! Lower steps to launches, place everything, decide where the weights are, see whether it fits, and only then allocate.
//! All of it but the last is done without a GPU too, for who wants to know what a plan takes ([`needs`]).

#![allow(unsafe_code, reason = "products are timed in memory that is there")]

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    device_buffers::DeviceBuffers, gemm_select, lower::lower, program::CudaProgram,
    upload::StagingRing,
};
use crate::{
    Error, Result,
    cuda::{
        gpu::{device::Device, gemm_backend::GemmPolicy},
        lowering::{
            arena::{Allocations, Layout},
            context::{Arch, Lowering},
        },
    },
    error::{Field, Hint, human_bytes},
    executor::{self, Executor, Needs, Prepare, Program, Residency},
    plan::{Buf, Plan},
    weights::Weights,
};

/// A slot of pinned memory: long enough that a copy's start costs nothing, short enough that a cancel takes effect.
const SLOT_BYTES: usize = 64 << 20;

/// A GPU, or what stands in for one.
pub struct Cuda {
    device: Arc<dyn Device>,
    slot_bytes: usize,
    /// Made when weights are first uploaded, then shared by all programs.
    ring: Mutex<Option<Arc<Mutex<StagingRing>>>>,
    library: Option<GemmPolicy>,
}

impl Cuda {
    /// Runs plans on `device`.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self {
            device,
            slot_bytes: SLOT_BYTES,
            ring: Mutex::default(),
            library: None,
        }
    }

    /// The same with a library of products.
    #[must_use]
    pub fn with_library(self, library: GemmPolicy) -> Self {
        Self {
            library: Some(library),
            ..self
        }
    }

    /// The same, where weights are copied at most so many bytes at a time; no row of a weight may be longer.
    #[must_use]
    pub fn copying(self, slot_bytes: usize) -> Self {
        Self { slot_bytes, ..self }
    }

    fn ring(&self) -> Result<Arc<Mutex<StagingRing>>> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = &*ring {
            return Ok(ring.clone());
        }
        let made = Arc::new(Mutex::new(StagingRing::new(
            &*self.device,
            self.slot_bytes,
        )?));
        Ok(ring.insert(made).clone())
    }
}

impl Executor for Cuda {
    fn name(&self) -> String {
        self.device.name()
    }

    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs> {
        let placement = place(
            plan,
            &Arch::of(&*self.device),
            self.library.as_ref(),
            how.fuse,
        )?;
        let needs = placement.needs();
        placement.choose(how.weights, &*self.device)?;
        Ok(needs)
    }

    fn prepare(&self, plan: &Plan, weights: &Weights, how: &Prepare) -> Result<Box<dyn Program>> {
        weights.check(&executor::required_tensors(plan))?;
        let plan = if how.taps {
            plan.keeping(plan.handles())
        } else {
            plan.clone()
        };
        let arch = Arch::of(&*self.device);
        let placement = place(&plan, &arch, self.library.as_ref(), how.fuse)?;
        let table_bytes = placement.table_bytes;
        let layout = placement.choose(how.weights, &*self.device)?;
        let memories = allocate(&layout, table_bytes, &*self.device)?;
        let context = Lowering {
            plan: &plan,
            layout: &layout,
            memory: Some((memories.bases(), &*self.device)),
            arch: &arch,
            fuse: how.fuse,
            library: self.library.as_ref(),
        };
        let (mut units, tables) = lower(&context)?;
        if table_bytes > 0 {
            self.device.h2d(&memories.tables, 0, tables.bytes())?;
        }
        if let Some(library) = &self.library {
            let memories = [&memories.arena, &memories.weights];
            // SAFETY: memory and tables are there, and nothing has been written to the memory yet.
            unsafe { gemm_select::choose(&mut units, library, &*self.device, &memories) }?;
        }
        let placed = DeviceBuffers {
            memories,
            device: self.device.clone(),
            plan,
            layout,
            how: how.clone(),
        };
        let program = CudaProgram::new(placed, units, self.ring()?, weights)?;
        Ok(Box::new(program))
    }

    fn runs_unrounded(&self) -> bool {
        false
    }
}

/// What `plan` takes on a GPU that the kernels are for, whether there is one or not.
///
/// # Errors
/// [`Error::Device`] for an op that no kernel runs.
pub fn needs(plan: &Plan) -> Result<Needs> {
    Ok(place(plan, &Arch::hopper(), None, true)?.needs())
}

/// Where everything lies, in either way to hold the weights.
struct Placement {
    resident: Layout,
    streamed: Layout,
    table_bytes: usize,
}

/// Finds a kernel for everything, then places all values; neither needs memory.
fn place(plan: &Plan, arch: &Arch, library: Option<&GemmPolicy>, fuse: bool) -> Result<Placement> {
    let steps: Vec<Range<usize>> = (0..plan.steps().len()).map(|step| step..step + 1).collect();
    let context = Lowering {
        plan,
        layout: &Layout::new(plan, plan.arena(), &steps, false),
        memory: None,
        arch,
        fuse,
        library,
    };
    let (units, tables) = lower(&context)?;
    let groups: Vec<_> = units.iter().map(|unit| unit.steps.clone()).collect();
    let unwritten: Vec<Buf> = units.into_iter().flat_map(|unit| unit.unwritten).collect();
    let arena = plan.arena_of_groups(&groups, &unwritten);
    let layout = |streamed| {
        let layout = Layout::new(plan, arena.clone(), &groups, streamed);
        layout.with_workspace(tables.workspace())
    };
    Ok(Placement {
        resident: layout(false),
        streamed: layout(true),
        table_bytes: tables.bytes().len(),
    })
}

impl Placement {
    fn needs(&self) -> Needs {
        Needs {
            weights: self.resident.weight_bytes() as u64,
            streamed_weights: self.streamed.weight_bytes() as u64,
            copied: self.streamed.copied_bytes() as u64,
            values: self.resident.arena_bytes() as u64,
            tables: self.table_bytes as u64,
        }
    }

    /// The layout for `residency`; refuses what does not fit into the memory that is free.
    fn choose(self, residency: Residency, device: &dyn Device) -> Result<Layout> {
        let (needs, have) = (self.needs(), device.free_bytes()?);
        let resident = (needs.weights, self.resident);
        let streamed = (needs.streamed_weights, self.streamed);
        let (weights, layout) = match residency {
            Residency::Resident => resident,
            Residency::Auto if needs.with(needs.weights) <= have => resident,
            Residency::Auto | Residency::Streamed => streamed,
        };
        let need = needs.with(weights);
        if need <= have {
            return Ok(layout);
        }
        let way_out = match residency {
            Residency::Resident if needs.with(needs.streamed_weights) <= have => {
                Hint::Set(Field::Residency, "streamed")
            }
            _ => Hint::SMALLER_CLIP,
        };
        Err(Error::Memory {
            need_bytes: need,
            have_bytes: have,
            for_what: format!(
                "{} of weights{} and {} of values on {}",
                human_bytes(weights),
                if layout.streamed().is_empty() {
                    ""
                } else {
                    " with layers streamed"
                },
                human_bytes(needs.with(0)),
                device.name()
            ),
            hint: Some(way_out),
        })
    }
}

fn allocate(layout: &Layout, table_bytes: usize, device: &dyn Device) -> Result<Allocations> {
    Ok(Allocations {
        weights: device.alloc(layout.weight_bytes().max(1), "weights")?,
        arena: device.alloc(layout.arena_bytes().max(1), "values")?,
        tables: device.alloc(table_bytes.max(1), "lists of tiles")?,
    })
}
