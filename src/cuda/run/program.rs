//! A plan made ready on a [`Device`]: its launches in graph segments, replayed as graphs where the device has them.
//!
//! With all weights resident a short run is one graph. Any other run has a graph for each segment, usually a layer:
//! between them the host checks for a cancel and enqueues the copies of the next layer's weights. Nothing is allocated
//! after prepare.

#![allow(
    unsafe_code,
    reason = "launches are unsafe; lowering says why they are sound"
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

/// The longest run captured as one graph, which cannot be cancelled: a third of a second at estimated rates.
const SHORT_RUN_FLOPS: f64 = 2e14;

/// A plan with its memory.
pub(in crate::cuda) struct DeviceBuffers {
    pub(in crate::cuda) arena: Memory,
    pub(in crate::cuda) metadata: Memory,
    pub(in crate::cuda) layout: Layout,
    pub(in crate::cuda) device: Arc<dyn Device>,
    pub(in crate::cuda) loaded: Arc<CudaLoaded>,
    pub(in crate::cuda) plan: Plan,
    pub(in crate::cuda) how: Prepare,
}

impl DeviceBuffers {
    /// Base addresses of its memory.
    pub(in crate::cuda) fn bases(&self) -> BaseAddresses {
        BaseAddresses {
            arena: self.arena.start(),
            weights: self.loaded.weights.base(),
            metadata: self.metadata.start(),
        }
    }
}

/// Units that run without a check by the host.
struct GraphSegment {
    units: Vec<Unit>,
    graph: Option<Graph>,
    /// Its number among the layers whose weights are streamed.
    layer: Option<usize>,
}

pub(in crate::cuda) struct CudaProgram {
    // Dropped before the memory that the graphs use.
    graph_segments: Vec<GraphSegment>,
    buffers: DeviceBuffers,
    /// With `profile`: one event before each unit and one after the last.
    marks: Option<Vec<Event>>,
    /// Recorded after the segments of even and of odd number.
    waited: [Event; 2],
    /// Of each unit in each run, with `profile`.
    times: Vec<Vec<Duration>>,
    runs: usize,
}

impl CudaProgram {
    /// Clears states, captures graphs.
    pub(in crate::cuda) fn new(buffers: DeviceBuffers, units: Vec<Unit>) -> Result<Self> {
        let device = buffers.device.clone();
        let marks = (0..=units.len()).map(|_| device.event());
        let how = buffers.how.clone();
        let mut program = Self {
            marks: how.profile.then(|| marks.collect()).transpose()?,
            times: vec![Vec::new(); units.len()],
            waited: [device.event()?, device.event()?],
            graph_segments: group(&buffers, units),
            runs: 0,
            buffers,
        };
        program.clear_states()?;
        if how.graph && !how.sync && !how.profile {
            program.record()?;
        }
        Ok(program)
    }

    /// Sets all states to zero.
    fn clear_states(&self) -> Result<()> {
        for buf in self.buffers.plan.handles() {
            let spec = self.buffers.plan.spec(buf);
            if spec.role == Role::State && spec.part.is_none() {
                let range = self.buffers.layout.range(&self.buffers.plan, buf);
                self.buffers.device.fill(&self.buffers.arena, range, 0)?;
            }
        }
        Ok(())
    }

    /// Captures a graph of each segment, where the device has graphs.
    fn record(&mut self) -> Result<()> {
        for segment in &mut self.graph_segments {
            let units = &segment.units;
            let device = &self.buffers.device;
            segment.graph = device
                .capture(&mut || units.iter().try_for_each(|unit| launch(&**device, unit)))?;
        }
        Ok(())
    }

    /// Runs everything; `stream` is locked where layers are streamed.
    fn run_all(&mut self, streaming: &mut Option<MutexGuard<'_, LayerStreaming>>) -> Result<()> {
        let (weights, cancel) = (&self.buffers.loaded.weights, &self.buffers.how.cancel);
        let mut unit = 0;
        for index in 0..self.graph_segments.len() {
            cancel.check()?;
            let layer = self.graph_segments[index].layer.zip(streaming.as_mut());
            if let Some((layer, streaming)) = layer {
                streaming.before(weights, layer, cancel)?;
            }
            self.run_segment(index, &mut unit)?;
            // The host is at most one segment ahead: a cancel takes effect, and the stream never runs dry.
            let device = &self.buffers.device;
            device.record(&self.waited[index % 2], Stream::Compute)?;
            let layer = self.graph_segments[index].layer.zip(streaming.as_mut());
            if let Some((layer, streaming)) = layer {
                streaming.after(weights, layer, cancel)?;
            }
            if index > 0 {
                device.finish(&self.waited[(index - 1) % 2])?;
            }
        }
        let device = &self.buffers.device;
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

    fn run_segment(&self, index: usize, unit: &mut usize) -> Result<()> {
        let (segment, plan) = (&self.graph_segments[index], &self.buffers.plan);
        if let Some(graph) = &segment.graph {
            // SAFETY: as in `launch`, for every launch of the graph; the program's memory lives.
            return unsafe { self.buffers.device.replay(graph) };
        }
        for each in &segment.units {
            if let Some(marks) = &self.marks {
                self.buffers.device.record(&marks[*unit], Stream::Compute)?;
            }
            launch(&*self.buffers.device, each)
                .map_err(|e| located(plan, each.steps.end - 1, e))?;
            if self.buffers.how.sync {
                self.buffers
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
            let milliseconds = self.buffers.device.elapsed_ms(&pair[0], &pair[1])?;
            times.push(Duration::from_secs_f64(
                f64::from(milliseconds).max(0.0) / 1e3,
            ));
        }
        Ok(())
    }
}

impl Program for CudaProgram {
    fn write(&mut self, buf: Buf, value: &Tensor) -> Result<()> {
        let spec = self.buffers.plan.written_by_host(buf, value.shape());
        let offset = self.buffers.layout.range(&self.buffers.plan, buf).start;
        transfer::h2d(
            &*self.buffers.device,
            &self.buffers.arena,
            offset,
            spec,
            value,
        )
    }

    fn run(&mut self) -> Result<()> {
        let loaded = self.buffers.loaded.clone();
        let is_streamed = !loaded.weights.layout.streamed().is_empty();
        let mut streaming = is_streamed.then(|| loaded.streaming());
        let mut outcome = self.run_all(&mut streaming);
        if is_streamed {
            outcome = outcome.and_then(|()| loaded.check_unchanged());
        }
        if outcome.is_err() {
            // Nothing stays enqueued; `outcome` has the device's error already.
            let _ = self.buffers.device.synchronize();
            if let Some(streaming) = &mut streaming {
                streaming.forget();
            }
        }
        outcome
    }

    fn read(&mut self, buf: Buf) -> Result<Tensor> {
        let spec = self.buffers.plan.spec(buf);
        let role = self.buffers.plan.spec(self.buffers.plan.root(buf)).role;
        assert!(
            matches!(role, Role::Output | Role::State | Role::Input),
            "{} was neither an output nor tapped",
            spec.label
        );
        let whole = self.buffers.layout.range(&self.buffers.plan, buf);
        let view = view(&self.buffers.plan, buf, whole.start as u64);
        let offset = usize::try_from(view.address).expect("an offset in memory fits");
        transfer::d2h(
            &*self.buffers.device,
            &self.buffers.arena,
            offset,
            spec,
            view.pitch,
        )
    }

    fn report(&self) -> ProgramReport {
        let plan = &self.buffers.plan;
        let units = self
            .graph_segments
            .iter()
            .flat_map(|segment| &segment.units);
        let units = units.zip(&self.times).map(|(unit, times)| {
            let launches = unit.launches.iter();
            UnitReport {
                kernels: launches.map(|launch| launch.name()).collect(),
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
    /// Waits until no work uses the memory.
    fn drop(&mut self) {
        // A device that fails here has reported its failure before.
        let _ = self.buffers.device.synchronize();
    }
}

fn launch(device: &dyn Device, unit: &Unit) -> Result<()> {
    unit.launches.iter().try_for_each(|launch| {
        // SAFETY: a `BoundLaunch` vouches for its arguments if the memory it was lowered for is there; a program's units
        // were lowered for its own memory and that of its weights, which both live until it is dropped and the streams are
        // empty, and the compute stream runs one launch after the other.
        unsafe { launch.enqueue(device) }
    })
}

/// Units by the plan's segments, or all in one; a unit across a boundary belongs to the segment where it starts.
///
/// # Panics
/// If a unit reads weights that are streamed for another layer: a mistake in the kernel table.
fn group(buffers: &DeviceBuffers, units: Vec<Unit>) -> Vec<GraphSegment> {
    let (plan, weights) = (&buffers.plan, &buffers.loaded.weights.layout);
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
