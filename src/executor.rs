//! Executor, Loaded and Program: the only door between models and devices.
//!
//! A model function makes a [`Plan`]. An [`Executor`] loads the weights of a network once ([`Loaded`]) and makes any of
//! its plans a [`Program`], which the pipeline writes to, runs and reads from without ever asking where it runs.
//! Validation is the caller's: a plan that was built is right. Errors are only what the caller cannot foresee: memory,
//! files, the device, an interruption.

use std::{
    any::Any,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    Error, Result, Tensor,
    plan::{Buf, Cost, Plan, Spec, TensorList},
    weights::{TensorSpec, Weights},
};

/// Runs plans on one device.
pub trait Executor: Send + Sync {
    /// Its name for messages and reports.
    fn name(&self) -> String;

    /// What a plan takes; refuses one that cannot fit, with numbers, before anything is opened or allocated.
    ///
    /// # Errors
    /// [`Error::Memory`]; [`Error::Device`] for an op that the device cannot run.
    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs>;

    /// Bytes of memory that nobody uses.
    ///
    /// # Errors
    /// The device's.
    fn free_bytes(&self) -> Result<u64>;

    /// Loads the tensors of a network, each checked. Besides them, `reserve` bytes of memory stay free for the values
    /// and tables of the programs that will use them.
    ///
    /// # Errors
    /// [`Error::Weights`] for a weight that is missing, of another shape or type, or not finite; [`Error::Memory`] if
    /// there is too little; [`Error::Device`] if the device fails.
    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        reserve: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>>;

    /// Makes a plan of a loaded network ready to run; reads no tensor.
    ///
    /// # Errors
    /// Too little memory; the device.
    ///
    /// # Panics
    /// If `loaded` is another executor's, or lacks a tensor of the plan.
    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>>;

    /// Loads the tensors of `plan` for it alone and makes it ready: they go when the program does.
    ///
    /// # Errors
    /// As [`Executor::check`], [`Executor::load`] and [`Executor::prepare`].
    fn load_and_prepare(
        &self,
        plan: &Plan,
        weights: &Weights,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        weights.check(&required_tensors(plan))?;
        let reserve = self.check(plan, how)?.with(0);
        let loaded = self.load(weights, &TensorList::of(plan), reserve, how)?;
        self.prepare(plan, &loaded, how)
    }

    /// Whether it also runs plans whose activations are not rounded ([`Plan::in_f32`]). Where matrix products take
    /// bf16 alone it does not, and is judged by the rounded plans.
    fn runs_unrounded(&self) -> bool {
        true
    }
}

/// The tensors of a network on a device, which programs of any size share.
pub trait Loaded: Any + Send + Sync {
    /// Bytes of the device's memory that they take; on the CPU a mapped file takes none.
    fn bytes(&self) -> u64;
}

/// The tensor that a weight asks for.
pub fn tensor_spec(spec: &Spec) -> TensorSpec {
    TensorSpec::new(&spec.label, spec.shape.clone(), spec.dtype)
}

/// The tensors that all weights of `plan` ask for.
pub fn required_tensors(plan: &Plan) -> Vec<TensorSpec> {
    plan.weights()
        .map(|buf| tensor_spec(plan.spec(buf)))
        .collect()
}

/// A plan made ready on a device.
pub trait Program: Send {
    /// Fills an input or a state buffer.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If `value` has another number of elements than `buf`.
    fn write(&mut self, buf: Buf, value: &Tensor) -> Result<()>;

    /// Runs all steps once.
    ///
    /// # Errors
    /// [`Error::Interrupted`] between two steps after a cancel; [`Error::Device`] if the device fails.
    fn run(&mut self) -> Result<()>;

    /// An output, a state or a tapped buffer after a run, in the buffer's shape; floats as f32.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If `buf` was neither an output nor tapped.
    fn read(&mut self, buf: Buf) -> Result<Tensor>;

    /// What ran, step by step, summed over all runs so far.
    fn report(&self) -> ProgramReport;
}

/// Bytes that a plan takes on a device, as its executor places it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Weights when all of them stay.
    pub weights: u64,
    /// Weights when layers are streamed: those outside of layers, and two slots of the largest layer.
    pub streamed_weights: u64,
    /// Weights that are copied in every run when layers are streamed.
    pub copied: u64,
    /// Inputs, outputs, states and everything in between.
    pub values: u64,
    /// Lists that kernels read.
    pub tables: u64,
}

impl Needs {
    /// All of it, with these bytes of weights.
    pub fn with(&self, weights: u64) -> u64 {
        weights + self.values + self.tables
    }
}

/// Where the weights are while a program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Residency {
    /// Resident if they fit, else streamed.
    #[default]
    Auto,
    /// All of them on the device.
    Resident,
    /// Layers are copied from the host's memory in every run, each while the one before is computed.
    Streamed,
}

/// How to load weights and prepare a plan. The last five are for devices that launch kernels; the CPU does as
/// `fuse: false`, `profile: true` ask, and is never ahead of itself.
#[derive(Clone)]
pub struct Prepare {
    /// Keep every buffer readable after a run, not only outputs.
    pub taps: bool,
    /// Looked at between tensors while weights are loaded, between steps or segments while a program runs.
    pub cancel: Cancel,
    /// Run consecutive steps as one kernel where there is one for them.
    pub fuse: bool,
    /// Record the launches once and replay them, where the device can.
    pub graph: bool,
    /// Measure the time of every step; launches one by one.
    pub profile: bool,
    /// Wait for every step, so that a failure names its op; launches one by one.
    pub sync: bool,
    /// Where the weights are; decided when they are loaded.
    pub weights: Residency,
}

impl Default for Prepare {
    fn default() -> Self {
        Self {
            taps: false,
            cancel: Cancel::default(),
            fuse: true,
            graph: true,
            profile: false,
            sync: false,
            weights: Residency::Auto,
        }
    }
}

/// A flag that stops long work; clones share it.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks all work that holds this flag to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// [`Error::Interrupted`] if somebody asked.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if it was.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// What a program did.
#[derive(Clone, Debug, Default)]
pub struct ProgramReport {
    /// Completed runs.
    pub runs: usize,
    /// In order; together they cover every step of the plan.
    pub units: Vec<UnitReport>,
}

/// What steps that ran as one did: one step, or more where a kernel does them together.
#[derive(Clone, Debug)]
pub struct UnitReport {
    /// Which steps of the plan.
    pub steps: Range<usize>,
    /// Label of the last one's result.
    pub label: String,
    /// Names of the ops, joined by `+`.
    pub op: String,
    /// The kernels that ran; empty on the CPU.
    pub kernels: Vec<&'static str>,
    /// Work of one run; what a step hands to another of the unit is not counted.
    pub cost: Cost,
    /// Of each run, where it was measured.
    pub times: Vec<Duration>,
}

impl UnitReport {
    /// A unit of `plan` that has not run.
    pub fn new(plan: &Plan, steps: Range<usize>, unwritten: &[Buf]) -> Self {
        let of = &plan.steps()[steps.clone()];
        let ops: Vec<&str> = of.iter().map(|step| step.op.name()).collect();
        Self {
            label: plan.spec(of[of.len() - 1].writes).label.clone(),
            op: ops.join("+"),
            kernels: Vec::new(),
            cost: plan.cost_of_unit(steps.clone(), unwritten),
            times: Vec::new(),
            steps,
        }
    }
}
