//! A plan made ready on a [`Device`]: its launches in stretches, replayed as graphs where there are some.
//!
//! With all weights on the device a short run is one graph. Any other run is a graph for each stretch of steps, a layer
//! mostly: the host looks for a cancel between them, and queues the copies of the next layer's weights. Nothing is
//! allocated after prepare.

#![allow(
    unsafe_code,
    reason = "launches are unsafe; what makes them sound is named where they are made"
)]

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use super::{layer_streaming::LayerStreaming, loaded::CudaLoaded, lower::located, transfer};
use crate::{
    Result, Tensor,
    cuda::{
        gpu::device::{Device, Event, Graph, Memory, Stream},
        lowering::{
            arena::{BaseAddresses, Layout, view},
            work::Unit,
        },
    },
    executor::{Prepare, Program, ProgramReport, UnitReport},
    plan::{Buf, Plan, Role},
};

/// The most arithmetic of a run that nobody would want to stop: a third of a second, at rates that are estimates.
const SHORT_RUN_FLOPS: f64 = 2e14;

/// A plan with its memory.
pub(in crate::cuda) struct DeviceBuffers {
    pub(in crate::cuda) arena: Memory,
    pub(in crate::cuda) tables: Memory,
    pub(in crate::cuda) layout: Layout,
    pub(in crate::cuda) device: Arc<dyn Device>,
    pub(in crate::cuda) loaded: Arc<CudaLoaded>,
    pub(in crate::cuda) plan: Plan,
    pub(in crate::cuda) how: Prepare,
}

impl DeviceBuffers {
    /// Where its memory starts.
    pub(in crate::cuda) fn bases(&self) -> BaseAddresses {
        BaseAddresses {
            arena: self.arena.start(),
            weights: self.loaded.weights.base(),
            tables: self.tables.start(),
        }
    }
}

/// Units that run without a look at the host.
struct GraphSegment {
    units: Vec<Unit>,
    graph: Option<Graph>,
    /// Its number among the layers whose weights are streamed.
    layer: Option<usize>,
}

pub(in crate::cuda) struct CudaProgram {
    // Before the memory that its work uses: fields are dropped in order, and the device waits for its queues.
    graph_segments: Vec<GraphSegment>,
    placed: DeviceBuffers,
    /// With `profile`: one event in front of each unit and one behind the last.
    marks: Option<Vec<Event>>,
    /// Behind the stretches of even and odd number.
    waited: [Event; 2],
    /// Of each unit in each run, if they are measured.
    times: Vec<Vec<Duration>>,
    runs: usize,
}

impl CudaProgram {
    /// Clears states, records graphs.
    pub(in crate::cuda) fn new(placed: DeviceBuffers, units: Vec<Unit>) -> Result<Self> {
        let device = placed.device.clone();
        let marks = (0..=units.len()).map(|_| device.event());
        let how = placed.how.clone();
        let mut program = Self {
            marks: how.profile.then(|| marks.collect()).transpose()?,
            times: vec![Vec::new(); units.len()],
            waited: [device.event()?, device.event()?],
            graph_segments: group(&placed, units),
            runs: 0,
            placed,
        };
        program.clear_states()?;
        if how.graph && !how.sync && !how.profile {
            program.record()?;
        }
        Ok(program)
    }

    /// State that nobody wrote is zero.
    fn clear_states(&self) -> Result<()> {
        for buf in self.placed.plan.handles() {
            let spec = self.placed.plan.spec(buf);
            if spec.role == Role::State && spec.part.is_none() {
                let range = self.placed.layout.range(&self.placed.plan, buf);
                self.placed.device.fill(&self.placed.arena, range, 0)?;
            }
        }
        Ok(())
    }

    /// Records one graph for each stretch, where the device has graphs.
    fn record(&mut self) -> Result<()> {
        for segment in &mut self.graph_segments {
            let units = &segment.units;
            let device = &self.placed.device;
            segment.graph = device
                .capture(&mut || units.iter().try_for_each(|unit| launch(&**device, unit)))?;
        }
        Ok(())
    }

    /// Runs everything; `stream` is locked where layers are streamed.
    fn run_all(&mut self, stream: &mut Option<MutexGuard<'_, LayerStreaming>>) -> Result<()> {
        let (weights, cancel) = (&self.placed.loaded.weights, &self.placed.how.cancel);
        let mut unit = 0;
        for index in 0..self.graph_segments.len() {
            cancel.check()?;
            let layer = self.graph_segments[index].layer.zip(stream.as_mut());
            if let Some((layer, stream)) = layer {
                stream.before(weights, layer, cancel)?;
            }
            self.run_stretch(index, &mut unit)?;
            // The host is at most one stretch ahead, so that a cancel takes effect and the queue never runs dry.
            let device = &self.placed.device;
            device.record(&self.waited[index % 2], Stream::Compute)?;
            let layer = self.graph_segments[index].layer.zip(stream.as_mut());
            if let Some((layer, stream)) = layer {
                stream.after(weights, layer, cancel)?;
            }
            if index > 0 {
                device.finish(&self.waited[(index - 1) % 2])?;
            }
        }
        let device = &self.placed.device;
        let last = match &self.marks {
            Some(marks) => &marks[unit],
            None => &self.waited[0],
        };
        device.record(last, Stream::Compute)?;
        device.finish(last)?;
        self.add_times()?;
        self.runs += 1;
        Ok(())
    }

    fn run_stretch(&self, index: usize, unit: &mut usize) -> Result<()> {
        let (segment, plan) = (&self.graph_segments[index], &self.placed.plan);
        if let Some(graph) = &segment.graph {
            // SAFETY: as in `launch`, for every launch of the graph; the program's memory lives.
            return unsafe { self.placed.device.replay(graph) };
        }
        for each in &segment.units {
            if let Some(marks) = &self.marks {
                self.placed.device.record(&marks[*unit], Stream::Compute)?;
            }
            launch(&*self.placed.device, each).map_err(|e| located(plan, each.steps.end - 1, e))?;
            if self.placed.how.sync {
                self.placed
                    .device
                    .synchronize()
                    .map_err(|e| located(plan, each.steps.end - 1, e))?;
            }
            *unit += 1;
        }
        Ok(())
    }

    fn add_times(&mut self) -> Result<()> {
        let Some(marks) = &self.marks else {
            return Ok(());
        };
        for (times, pair) in self.times.iter_mut().zip(marks.windows(2)) {
            let milliseconds = self.placed.device.elapsed_ms(&pair[0], &pair[1])?;
            times.push(Duration::from_secs_f64(
                f64::from(milliseconds).max(0.0) / 1e3,
            ));
        }
        Ok(())
    }
}

impl Program for CudaProgram {
    fn write(&mut self, buf: Buf, value: &Tensor) -> Result<()> {
        let spec = self.placed.plan.written_by_host(buf, value.shape());
        let offset = self.placed.layout.range(&self.placed.plan, buf).start;
        transfer::h2d(
            &*self.placed.device,
            &self.placed.arena,
            offset,
            spec,
            value,
        )
    }

    fn run(&mut self) -> Result<()> {
        let loaded = self.placed.loaded.clone();
        let is_streamed = !loaded.weights.layout.streamed().is_empty();
        let mut stream = is_streamed.then(|| loaded.stream());
        let outcome = self.run_all(&mut stream);
        if outcome.is_err() {
            // Nothing stays queued; that the device fails again here is no news.
            let _ = self.placed.device.synchronize();
            if let Some(stream) = &mut stream {
                stream.forget();
            }
        }
        outcome
    }

    fn read(&mut self, buf: Buf) -> Result<Tensor> {
        let spec = self.placed.plan.spec(buf);
        let role = self.placed.plan.spec(self.placed.plan.root(buf)).role;
        assert!(
            matches!(role, Role::Output | Role::State | Role::Input),
            "{} was neither an output nor tapped",
            spec.label
        );
        let whole = self.placed.layout.range(&self.placed.plan, buf);
        let view = view(&self.placed.plan, buf, whole.start as u64);
        let offset = usize::try_from(view.address).expect("an offset in memory fits");
        transfer::d2h(
            &*self.placed.device,
            &self.placed.arena,
            offset,
            spec,
            view.pitch,
        )
    }

    fn report(&self) -> ProgramReport {
        let plan = &self.placed.plan;
        let units = self
            .graph_segments
            .iter()
            .flat_map(|segment| &segment.units);
        let units = units.zip(&self.times).map(|(unit, times)| {
            let launches = unit.launches.iter();
            UnitReport {
                kernels: launches.map(|sound| sound.name()).collect(),
                times: times.clone(),
                ..UnitReport::new(plan, unit.steps.clone(), &unit.unwritten)
            }
        });
        ProgramReport {
            runs: self.runs,
            units: units.collect(),
        }
    }
}

impl Drop for CudaProgram {
    /// Memory must not go while something works on it.
    fn drop(&mut self) {
        // A device that fails here failed before, and said so.
        let _ = self.placed.device.synchronize();
    }
}

fn launch(device: &dyn Device, unit: &Unit) -> Result<()> {
    unit.launches.iter().try_for_each(|sound| {
        // SAFETY: a `BoundLaunch` launch vouches for its arguments if the memory it was lowered for is there; a program's units
        // were lowered for its own memory and for that of its weights, which both live until it is dropped and the queues
        // are empty, and the compute queue runs one launch after the other.
        unsafe { sound.queue(device) }
    })
}

/// Units in segments of the plan, or all in one; a unit that reaches over an end belongs where it starts.
///
/// # Panics
/// If a unit reads weights that are streamed for another layer, a mistake of the table of fused steps.
fn group(placed: &DeviceBuffers, units: Vec<Unit>) -> Vec<GraphSegment> {
    let (plan, weights) = (&placed.plan, &placed.loaded.weights.layout);
    let is_one = weights.streamed().is_empty() && plan.total_cost().flops < SHORT_RUN_FLOPS;
    let mut found: Vec<(Option<usize>, GraphSegment)> = Vec::new();
    for unit in units {
        let at = plan.segment_of(unit.steps.start).filter(|_| !is_one);
        let reads = plan.steps()[unit.steps.clone()]
            .iter()
            .flat_map(|s| &s.reads);
        for root in reads.map(|&buf| plan.spec(plan.root(buf))) {
            let is_there = weights.is_there(&root.label, at);
            assert!(is_there, "{} is read in another layer", root.label);
        }
        if found.last().is_none_or(|(last, _)| *last != at) {
            let mut layers = weights.streamed().iter();
            let layer = layers.position(|(layer, _)| Some(*layer) == at);
            let segment = GraphSegment {
                units: Vec::new(),
                graph: None,
                layer,
            };
            found.push((at, segment));
        }
        if let Some((_, last)) = found.last_mut() {
            last.units.push(unit);
        }
    }
    found.into_iter().map(|(_, segment)| segment).collect()
}
