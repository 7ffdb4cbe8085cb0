//! Loads weights and prepares plans to run on a [`Device`].
//!
//! The offsets of weights follow from a network's tensor list; whether all weights are resident is decided when they are
//! loaded, by the free memory. A plan is lowered and its values are placed before anything is allocated: so [`needs`]
//! tells how much memory a plan takes without a GPU.

#![allow(unsafe_code, reason = "GEMMs are timed in allocated memory")]

use std::{
    any::Any,
    borrow::Cow,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    gemm_select,
    loaded::CudaLoaded,
    lower::lower,
    program::{CudaProgram, DeviceBuffers},
    upload::StagingRing,
    weight_memory::WeightMemory,
};
use crate::{
    Error, Result,
    cuda::{
        gpu::{device::Device, gemm_backend::GemmPolicy},
        lowering::{
            arena::Layout,
            context::{Arch, Lowering},
            weights::WeightLayout,
        },
    },
    error::{Field, Hint, human_bytes},
    executor::{Executor, Loaded, Needs, Prepare, Program, Residency, tensor_spec},
    plan::{Buf, Plan, TensorList},
    weights::{TensorSpec, Weights},
};

/// Size of a staging slot: long enough to hide the latency of a copy, short enough for a cancel to take effect.
const SLOT_BYTES: usize = 64 << 20;

/// The executor of a GPU, or of its emulator.
pub struct Cuda {
    device: Arc<dyn Device>,
    slot_bytes: usize,
    /// Allocated by the first upload, then shared by all.
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

    /// The same with a GEMM library.
    #[must_use]
    pub fn with_library(self, library: GemmPolicy) -> Self {
        Self {
            library: Some(library),
            ..self
        }
    }

    /// The same with staging slots of `slot_bytes`; no row of a weight may be longer.
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
        let (plan, arch) = (kept(plan, how), Arch::of(&*self.device));
        let tensors = TensorList::of(&plan);
        let weights = WeightLayout::new(&tensors, false);
        let placement = place(&plan, &weights, &arch, self.library.as_ref(), how.fuse)?;
        let needs = placement.needs(&tensors);
        choose(&tensors, needs.with(0), how.weights, &*self.device)?;
        Ok(needs)
    }

    fn free_bytes(&self) -> Result<u64> {
        self.device.free_bytes()
    }

    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        reserve: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>> {
        let required_tensors: Vec<TensorSpec> = tensors
            .tensors()
            .iter()
            .map(|t| tensor_spec(&t.spec))
            .collect();
        weights.check(&required_tensors)?;
        let layout = choose(tensors, reserve, how.weights, &*self.device)?;
        let to = WeightMemory {
            memory: self.device.alloc(layout.bytes().max(1), "weights")?,
            device: self.device.clone(),
            layout,
        };
        let staging = usize::try_from(reserve).unwrap_or(usize::MAX);
        let loaded = CudaLoaded::new(to, weights, self.ring()?, staging, &how.cancel)?;
        Ok(Arc::new(loaded))
    }

    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        let loaded: Arc<dyn Any + Send + Sync> = loaded.clone();
        let loaded = loaded.downcast::<CudaLoaded>().ok();
        let loaded = loaded.filter(|loaded| Arc::ptr_eq(&loaded.weights.device, &self.device));
        let loaded = loaded.expect("weights loaded by this executor");
        let plan = kept(plan, how).into_owned();
        // Memory safety rests on this: kernels read as many bytes as the plan says.
        let has_all = loaded
            .weights
            .layout
            .list()
            .has_all_of(&TensorList::of(&plan));
        assert!(has_all, "the plan and the weights are of one network");
        let (arch, library) = (Arch::of(&*self.device), self.library.as_ref());
        let weights = &loaded.weights.layout;
        let Placement {
            layout,
            metadata_bytes,
        } = place(&plan, weights, &arch, library, how.fuse)?;
        let buffers = DeviceBuffers {
            arena: self.device.alloc(layout.bytes().max(1), "values")?,
            metadata: self.device.alloc(metadata_bytes.max(1), "tile lists")?,
            device: self.device.clone(),
            how: how.clone(),
            layout,
            loaded,
            plan,
        };
        let (mut units, metadata) = lower(&Lowering {
            plan: &buffers.plan,
            layout: &buffers.layout,
            weights: &buffers.loaded.weights.layout,
            memory: Some((buffers.bases(), &*self.device)),
            arch: &arch,
            fuse: how.fuse,
            library,
        })?;
        if metadata_bytes > 0 {
            self.device.h2d(&buffers.metadata, 0, metadata.bytes())?;
        }
        if let Some(library) = library {
            // SAFETY: memory and metadata are there, and the arena holds no values yet.
            unsafe { gemm_select::choose(&mut units, library, &*self.device, &buffers.arena) }?;
        }
        Ok(Box::new(CudaProgram::new(buffers, units)?))
    }

    fn runs_unrounded(&self) -> bool {
        false
    }
}

/// Memory that `plan` takes on a Hopper GPU; needs no GPU.
///
/// # Errors
/// [`Error::Device`] for an op that no kernel runs.
pub fn needs(plan: &Plan) -> Result<Needs> {
    let tensors = TensorList::of(plan);
    let weights = WeightLayout::new(&tensors, false);
    let placement = place(plan, &weights, &Arch::hopper(), None, true)?;
    Ok(placement.needs(&tensors))
}

/// The plan, with every buffer kept if `how` asks for taps.
fn kept<'a>(plan: &'a Plan, how: &Prepare) -> Cow<'a, Plan> {
    match how.taps {
        true => Cow::Owned(plan.keeping(plan.handles())),
        false => Cow::Borrowed(plan),
    }
}

/// Offsets of a plan's values, and the size of its metadata.
struct Placement {
    layout: Layout,
    metadata_bytes: usize,
}

/// Finds a kernel for every step, then places all values; neither needs memory.
fn place(
    plan: &Plan,
    weights: &WeightLayout,
    arch: &Arch,
    library: Option<&GemmPolicy>,
    fuse: bool,
) -> Result<Placement> {
    let (units, metadata) = lower(&Lowering {
        plan,
        layout: &Layout::new(plan.arena(), 0),
        weights,
        memory: None,
        arch,
        fuse,
        library,
    })?;
    let groups: Vec<Range<usize>> = units.iter().map(|unit| unit.steps.clone()).collect();
    let unwritten: Vec<Buf> = units.into_iter().flat_map(|unit| unit.unwritten).collect();
    let arena = plan.arena_of_groups(&groups, &unwritten);
    Ok(Placement {
        layout: Layout::new(arena, metadata.workspace()),
        metadata_bytes: metadata.bytes().len(),
    })
}

impl Placement {
    fn needs(&self, tensors: &TensorList) -> Needs {
        let streamed = WeightLayout::new(tensors, true);
        Needs {
            weights: WeightLayout::new(tensors, false).bytes() as u64,
            streamed_weights: streamed.bytes() as u64,
            copied: streamed.copied_bytes() as u64,
            values: self.layout.bytes() as u64,
            tables: self.metadata_bytes as u64,
        }
    }
}

/// The layout for `residency` that leaves `reserve` bytes free; refuses one that exceeds the free memory.
fn choose(
    tensors: &TensorList,
    reserve: u64,
    residency: Residency,
    device: &dyn Device,
) -> Result<WeightLayout> {
    let have = device.free_bytes()?;
    let need = |layout: &WeightLayout| layout.bytes() as u64 + reserve;
    let [resident, streamed] = [false, true].map(|streamed| WeightLayout::new(tensors, streamed));
    let streamed_fits = need(&streamed) <= have;
    let layout = match residency {
        Residency::Resident => resident,
        Residency::Auto if need(&resident) <= have => resident,
        Residency::Auto | Residency::Streamed => streamed,
    };
    if need(&layout) <= have {
        return Ok(layout);
    }
    let way_out = match residency {
        Residency::Resident if streamed_fits => Hint::Set(Field::Residency, "streamed"),
        _ => Hint::SMALLER_CLIP,
    };
    let how = match layout.streamed() {
        [] => "",
        _ => " with layers streamed",
    };
    Err(Error::Memory {
        need_bytes: need(&layout),
        have_bytes: have,
        for_what: format!(
            "{} of weights{how} and {} of values on {}",
            human_bytes(layout.bytes() as u64),
            human_bytes(reserve),
            device.name()
        ),
        hint: Some(way_out),
    })
}
