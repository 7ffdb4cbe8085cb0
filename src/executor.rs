//! Executor, Loaded and Program: the only door between models and devices.
//!
//! A model function makes a [`Plan`]. An [`Executor`] loads the weights of a network once ([`Loaded`]) and makes each of
//! its plans a [`Program`], which the pipeline writes, runs and reads without knowing the device. Plans are valid: their
//! builder has checked them. Errors are what no caller can foresee: memory, files, the device, an interruption.

use std::{
    any::Any,
    ops::Range,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use crate::{
    Error, Result, Tensor,
    plan::{Buf, Cost, Plan, Spec, TensorList},
    weights::{TensorSpec, Weights},
};

/// Runs plans on one device.
///
/// Every method that returns a `Result` fails with [`Error::Device`] if the device does.
pub trait Executor: Send + Sync {
    /// Name for messages and reports.
    fn name(&self) -> String;

    /// Memory that a plan takes. Refuses a plan that cannot fit before anything is opened or allocated.
    ///
    /// # Errors
    /// [`Error::Memory`] with both sizes; [`Error::Device`] for an op that the device cannot run.
    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs>;

    /// Bytes of free memory.
    fn free_bytes(&self) -> Result<u64>;

    /// Loads and checks the tensors of a network, and leaves `reserve` bytes of memory free for the values and metadata of
    /// programs.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor that is missing, of another shape or type, or not finite; [`Error::Memory`] if
    /// there is too little.
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
    /// [`Error::Memory`] if there is too little.
    ///
    /// # Panics
    /// If another executor made `loaded`, or if it lacks a tensor of the plan.
    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>>;

    /// Loads the tensors of `plan` for this program alone, which frees them when dropped.
    ///
    /// # Errors
    /// Those of [`Executor::check`], [`Executor::load`] and [`Executor::prepare`].
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

    /// Whether it runs plans with unrounded activations ([`Plan::in_f32`]). An executor whose GEMMs take only bf16 does
    /// not, and is judged by the rounded plans.
    fn runs_unrounded(&self) -> bool {
        true
    }
}

/// The tensors of a network on a device, shared by programs of any size.
pub trait Loaded: Any + Send + Sync {
    /// Bytes of device memory that they take; on the CPU a mapped file takes none.
    fn bytes(&self) -> u64;
}

/// The tensor that a weight is loaded from.
pub fn tensor_spec(spec: &Spec) -> TensorSpec {
    TensorSpec::new(&spec.label, spec.shape.clone(), spec.dtype)
}

/// The tensors that the weights of `plan` are loaded from.
pub fn required_tensors(plan: &Plan) -> Vec<TensorSpec> {
    plan.weights()
        .map(|buf| tensor_spec(plan.spec(buf)))
        .collect()
}

/// A plan made ready on a device.
pub trait Program: Send {
    /// Fills an input or a state buffer with `value`, in the buffer's shape, rounded to its type.
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
    /// If `buf` is neither an output nor tapped.
    fn read(&mut self, buf: Buf) -> Result<Tensor>;

    /// The units that ran, with the times of all runs so far.
    fn report(&self) -> ProgramReport;
}

/// Bytes that a plan takes on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Weights if all are resident.
    pub weights: u64,
    /// Weights if layers are streamed: those outside of layers, and two slots for the largest layer.
    pub streamed_weights: u64,
    /// Weights that every run copies if layers are streamed.
    pub copied: u64,
    /// Inputs, outputs, states and activations.
    pub values: u64,
    /// Metadata that kernels read, such as tile lists.
    pub tables: u64,
}

impl Needs {
    /// The total, with `weights` bytes of weights.
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
    /// Every run copies the layers from host memory, each while the one before it is computed.
    Streamed,
}

/// How to load weights and prepare a plan. The last five are for devices that launch kernels; the CPU always runs as with
/// `fuse: false`, `profile: true` and `sync: true`.
#[derive(Clone)]
pub struct Prepare {
    /// Keep every buffer readable after a run, not only outputs.
    pub taps: bool,
    /// Checked between tensors while weights are loaded, and between steps or segments while a program runs.
    pub cancel: Cancel,
    /// Fuse consecutive steps where one kernel runs them.
    pub fuse: bool,
    /// Capture the launches as graphs and replay them, where the device can.
    pub graph: bool,
    /// Measure the time of every step; launches one by one.
    pub profile: bool,
    /// Wait for every step, so that a failure names its op; launches one by one.
    pub sync: bool,
    /// Where the weights are; takes effect when they are loaded.
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
    /// Within which time a cancel of watched work is heard.
    const HEARD: Duration = Duration::from_millis(50);

    /// Asks all work that holds this flag to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Does `work`, which looks at no flag, on a thread of its own, so that it can be given up: after a cancel it goes
    /// on unheard to its end, which must not be far.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Interrupted`] after a cancel; [`Error::Device`] if no thread can be started.
    ///
    /// # Panics
    /// If `work` does.
    pub fn watch<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (send, done) = mpsc::channel();
        // Nobody listens any more after a cancel.
        let work = move || drop(send.send(work()));
        let thread = thread::Builder::new()
            .spawn(work)
            .map_err(|e| Error::device(format!("no thread could be started: {e}")))?;
        loop {
            self.check()?;
            match done.recv_timeout(Self::HEARD) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let panic = thread
                        .join()
                        .expect_err("a thread that ends sends its result");
                    resume_unwind(panic)
                }
            }
        }
    }

    /// Whether work should stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if work should stop.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after [`Cancel::cancel`].
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
    /// All units in order; together they cover every step of the plan.
    pub units: Vec<UnitReport>,
}

/// Report of a unit: one step, or several that a kernel fuses.
#[derive(Clone, Debug)]
pub struct UnitReport {
    /// Steps of the plan.
    pub steps: Range<usize>,
    /// Label of the last one's result.
    pub label: String,
    /// Names of the ops, joined by `+`.
    pub op: String,
    /// The kernels that ran; empty on the CPU.
    pub kernels: Vec<&'static str>,
    /// Work of one run, without values that stay inside the unit.
    pub cost: Cost,
    /// Time of each run, if measured.
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
