//! Prepares and runs plans on a [`Device`].
//!
//! Prepare: check the weights, lower steps to launches, place everything, see whether it fits, and only then allocate,
//! copy the weights and record graphs. Run: replay. Nothing is allocated after prepare.

#![allow(
    unsafe_code,
    reason = "launches are unsafe; what makes them sound is named where they are made"
)]

use std::{sync::Arc, time::Duration};

use super::{
    arena::{Bases, Layout, Memories, stretches},
    device::{Device, Event, Graph, Part, Queue},
    lower::{Context, Unit, lower},
    transfer,
};
use crate::{
    Error, Result, Tensor,
    error::human_bytes,
    executor::{self, Executor, Prepare, Program, Report, StepReport},
    plan::{Buf, Plan, Role},
    weights::{Weights, check_finite},
};

/// A GPU, or what stands in for one.
pub struct Cuda {
    device: Arc<dyn Device>,
}

impl Cuda {
    /// Runs plans on `device`.
    pub fn new(device: Arc<dyn Device>) -> Self {
        Self { device }
    }
}

impl Executor for Cuda {
    fn name(&self) -> String {
        self.device.name()
    }

    fn check(&self, plan: &Plan) -> Result<()> {
        place(plan, &*self.device, true).map(|_| ())
    }

    fn prepare(&self, plan: &Plan, weights: &Weights, how: &Prepare) -> Result<Box<dyn Program>> {
        weights.check(&executor::wants(plan))?;
        let plan = if how.taps {
            plan.keeping(plan.handles())
        } else {
            plan.clone()
        };
        let (layout, table_bytes) = place(&plan, &*self.device, how.fuse)?;
        let memories = allocate(&layout, table_bytes, &*self.device)?;
        let context = Context {
            plan: &plan,
            layout: &layout,
            bases: Some(memories.bases()),
            device: &*self.device,
            fuse: how.fuse,
        };
        let (units, tables) = lower(&context)?;
        if table_bytes > 0 {
            self.device.copy_in(&memories.tables, 0, tables.bytes())?;
        }
        let mut program = CudaProgram {
            device: self.device.clone(),
            memories,
            stretches: group(&plan, units),
            times: vec![Duration::ZERO; plan.steps().len()],
            marks: None,
            waited: [self.device.event()?, self.device.event()?],
            runs: 0,
            layout,
            plan,
            how: how.clone(),
        };
        program.clear_states()?;
        for stretch in 0..program.layout.weights_by_stretch().len() {
            program.upload(stretch, weights)?;
        }
        if how.profile {
            program.marks = Some(program.unit_marks()?);
        } else if how.graph && !how.sync {
            program.record()?;
        }
        Ok(Box::new(program))
    }

    fn runs_unrounded(&self) -> bool {
        false
    }
}

/// Finds a kernel for everything, then places all values; neither needs memory. Also gives the size of the tables.
fn place(plan: &Plan, device: &dyn Device, fuse: bool) -> Result<(Layout, usize)> {
    let apart = Layout::new(plan, plan.arena());
    let context = Context {
        plan,
        layout: &apart,
        bases: None,
        device,
        fuse,
    };
    let (units, tables) = lower(&context)?;
    let groups: Vec<_> = units.iter().map(|unit| unit.steps.clone()).collect();
    let unwritten: Vec<Buf> = units.into_iter().flat_map(|unit| unit.unwritten).collect();
    let layout = Layout::new(plan, plan.arena_of_groups(&groups, &unwritten))
        .with_workspace(tables.workspace());
    check_memory(&layout, tables.bytes().len(), device)?;
    Ok((layout, tables.bytes().len()))
}

/// Refuses what does not fit into the memory that is free.
fn check_memory(layout: &Layout, table_bytes: usize, device: &dyn Device) -> Result<()> {
    let (weights, values) = (layout.weight_bytes() as u64, layout.arena_bytes() as u64);
    let need = weights + values + table_bytes as u64;
    let have = device.free_bytes()?;
    if need <= have {
        return Ok(());
    }
    Err(Error::Memory {
        need_bytes: need,
        have_bytes: have,
        for_what: format!(
            "{} of weights and {} of values on {} (a smaller --size or fewer --seconds needs less)",
            human_bytes(weights),
            human_bytes(values),
            device.name()
        ),
    })
}

fn allocate(layout: &Layout, table_bytes: usize, device: &dyn Device) -> Result<Memories> {
    Ok(Memories {
        weights: device.alloc(layout.weight_bytes().max(1), "weights")?,
        arena: device.alloc(layout.arena_bytes().max(1), "values")?,
        tables: device.alloc(table_bytes.max(1), "lists of tiles")?,
    })
}

/// Units by stretch of the plan; a unit that reaches over an end belongs where it starts.
fn group(plan: &Plan, units: Vec<Unit>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let ends: Vec<usize> = stretches_ends(plan);
    for unit in units {
        let index = ends.partition_point(|&end| end <= unit.steps.start);
        if stretches.last().is_none_or(|last| last.index != index) {
            stretches.push(Stretch {
                index,
                units: Vec::new(),
                graph: None,
            });
        }
        if let Some(last) = stretches.last_mut() {
            last.units.push(unit);
        }
    }
    stretches
}

fn stretches_ends(plan: &Plan) -> Vec<usize> {
    stretches(plan).into_iter().map(|steps| steps.end).collect()
}

/// Units that run without a look at the host: a layer.
struct Stretch {
    index: usize,
    units: Vec<Unit>,
    graph: Option<Graph>,
}

struct CudaProgram {
    // Before the memory that its work uses: fields are dropped in order, and the device waits for its queues.
    stretches: Vec<Stretch>,
    memories: Memories,
    device: Arc<dyn Device>,
    plan: Plan,
    layout: Layout,
    how: Prepare,
    /// With `profile`: one event in front of each unit and one behind the last.
    marks: Option<Vec<Event>>,
    /// Behind the stretches of even and odd number.
    waited: [Event; 2],
    times: Vec<Duration>,
    runs: usize,
}

impl Program for CudaProgram {
    fn write(&mut self, buf: Buf, value: &Tensor) -> Result<()> {
        let spec = self.plan.spec(buf);
        let writable = matches!(spec.role, Role::Input | Role::State);
        assert!(
            writable && spec.part.is_none(),
            "{} is not for the host to write",
            spec.label
        );
        assert_eq!(
            value.count(),
            spec.shape.count(),
            "{}: {} given for {}",
            spec.label,
            value.shape(),
            spec.shape
        );
        let offset = self.layout.arena_range(&self.plan, buf).start;
        transfer::copy_in(&*self.device, &self.memories.arena, offset, spec, value)
    }

    fn run(&mut self) -> Result<()> {
        let mut unit = 0;
        for index in 0..self.stretches.len() {
            self.how.cancel.check()?;
            self.run_stretch(index, &mut unit)?;
            // The host is at most one stretch ahead, so that a cancel takes effect and the queue never runs dry.
            self.device
                .record(&self.waited[index % 2], Queue::Compute)?;
            if index > 0 {
                self.device.finish(&self.waited[(index - 1) % 2])?;
            }
        }
        if let Some(marks) = &self.marks {
            self.device.record(&marks[unit], Queue::Compute)?;
        }
        self.device.synchronise()?;
        self.add_times()?;
        self.runs += 1;
        Ok(())
    }

    fn read(&mut self, buf: Buf) -> Result<Tensor> {
        let spec = self.plan.spec(buf);
        let role = self.plan.spec(self.plan.root(buf)).role;
        assert!(
            matches!(role, Role::Output | Role::State | Role::Input),
            "{} was neither an output nor tapped",
            spec.label
        );
        let view = self.layout.view(&self.plan, buf, Bases::NOWHERE);
        let offset =
            usize::try_from(view.address - Bases::NOWHERE.arena).expect("an offset in memory fits");
        transfer::copy_out(
            &*self.device,
            &self.memories.arena,
            offset,
            spec,
            view.pitch,
        )
    }

    fn report(&self) -> Report {
        let mut kernels = vec![Vec::new(); self.plan.steps().len()];
        for unit in self.stretches.iter().flat_map(|stretch| &stretch.units) {
            let names = unit
                .launches
                .iter()
                .map(|sound| sound.launch().kernel().name);
            kernels[unit.steps.end - 1] = names.collect();
        }
        let steps = self.plan.steps().iter().zip(kernels).enumerate();
        let steps = steps.map(|(index, (step, kernels))| StepReport {
            label: self.plan.spec(step.writes).label.clone(),
            op: step.op.name(),
            kernels,
            cost: self.plan.cost(index),
            time: self.times[index],
        });
        Report {
            runs: self.runs,
            steps: steps.collect(),
        }
    }
}

impl CudaProgram {
    /// State that nobody wrote is zero.
    fn clear_states(&self) -> Result<()> {
        for buf in self.plan.handles() {
            let spec = self.plan.spec(buf);
            if spec.role == Role::State && spec.part.is_none() {
                let range = self.layout.arena_range(&self.plan, buf);
                let part = Part {
                    offset: range.start,
                    bytes: range.len(),
                };
                self.device.fill(&self.memories.arena, part, 0)?;
            }
        }
        Ok(())
    }

    /// Copies the weights that a stretch is the first to read.
    fn upload(&self, stretch: usize, weights: &Weights) -> Result<()> {
        let (bufs, _) = &self.layout.weights_by_stretch()[stretch];
        for &buf in bufs {
            self.how.cancel.check()?;
            let want = executor::want(&self.plan, buf);
            let tensor = weights.load(&want)?;
            check_finite(&weights.path(&want.name), &want.name, &tensor)?;
            let (spec, offset) = (self.plan.spec(buf), self.layout.weight_offset(buf));
            transfer::copy_in(&*self.device, &self.memories.weights, offset, spec, &tensor)?;
        }
        Ok(())
    }

    fn unit_marks(&self) -> Result<Vec<Event>> {
        let count: usize = self
            .stretches
            .iter()
            .map(|stretch| stretch.units.len())
            .sum();
        (0..=count).map(|_| self.device.event()).collect()
    }

    /// Records one graph for each stretch, where the device has graphs.
    fn record(&mut self) -> Result<()> {
        for stretch in &mut self.stretches {
            let units = &stretch.units;
            let device = &self.device;
            stretch.graph = device
                .capture(&mut || units.iter().try_for_each(|unit| launch(&**device, unit)))?;
        }
        Ok(())
    }

    fn run_stretch(&self, index: usize, unit: &mut usize) -> Result<()> {
        let stretch = &self.stretches[index];
        if let Some(graph) = &stretch.graph {
            // SAFETY: as in `launch`, for every launch of the graph; the program's memory lives.
            return unsafe { self.device.replay(graph) };
        }
        for each in &stretch.units {
            if let Some(marks) = &self.marks {
                self.device.record(&marks[*unit], Queue::Compute)?;
            }
            launch(&*self.device, each).map_err(|e| self.at(each, e))?;
            if self.how.sync {
                self.device.synchronise().map_err(|e| self.at(each, e))?;
            }
            *unit += 1;
        }
        Ok(())
    }

    /// The device's error with the op it happened at.
    fn at(&self, unit: &Unit, error: Error) -> Error {
        let Error::Device { problem } = error else {
            return error;
        };
        let step = &self.plan.steps()[unit.steps.end - 1];
        let label = &self.plan.spec(step.writes).label;
        Error::device(format!("{} at {label}: {problem}", step.op.name()))
    }

    fn add_times(&mut self) -> Result<()> {
        let Some(marks) = &self.marks else {
            return Ok(());
        };
        let units = self.stretches.iter().flat_map(|stretch| &stretch.units);
        for (unit, pair) in units.zip(marks.windows(2)) {
            let milliseconds = self.device.elapsed_ms(&pair[0], &pair[1])?;
            self.times[unit.steps.end - 1] +=
                Duration::from_secs_f64(f64::from(milliseconds).max(0.0) / 1e3);
        }
        Ok(())
    }
}

impl Drop for CudaProgram {
    /// Memory must not go while something works on it.
    fn drop(&mut self) {
        // A device that fails here failed before, and said so.
        let _ = self.device.synchronise();
    }
}

fn launch(device: &dyn Device, unit: &Unit) -> Result<()> {
    unit.launches.iter().try_for_each(|sound| {
        // SAFETY: a `Sound` launch vouches for its arguments if the memory it was lowered for is there; a program's units
        // were lowered for its own memory, which lives until it is dropped and its queues are empty, and the compute
        // queue runs one launch after the other.
        unsafe { device.launch(sound.launch()) }
    })
}
