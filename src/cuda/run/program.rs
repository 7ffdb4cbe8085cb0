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
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    device_buffers::DeviceBuffers, layer_streaming::LayerStreaming, transfer, upload::StagingRing,
};
use crate::{
    Error, Result, Tensor,
    cuda::{
        gpu::device::{ByteRange, Device, Event, Graph, Stream},
        lowering::{
            arena::{BaseAddresses, graph_segment_of, graph_segments},
            work::Unit,
        },
    },
    executor::{Program, ProgramReport, UnitReport},
    plan::{Buf, Role},
    weights::Weights,
};

/// The most arithmetic of a run that nobody would want to stop: a third of a second, at rates that are estimates.
const SHORT_RUN_FLOPS: f64 = 2e14;

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
    stream: LayerStreaming,
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
    /// Copies weights, clears states, records graphs.
    pub(in crate::cuda) fn new(
        placed: DeviceBuffers,
        units: Vec<Unit>,
        ring: Arc<Mutex<StagingRing>>,
        weights: &Weights,
    ) -> Result<Self> {
        let device = placed.device.clone();
        let marks = (0..=units.len()).map(|_| device.event());
        let how = placed.how.clone();
        let stream = LayerStreaming::new(&*device, &placed.plan, ring)?;
        let mut program = Self {
            marks: how.profile.then(|| marks.collect()).transpose()?,
            times: vec![Vec::new(); units.len()],
            waited: [device.event()?, device.event()?],
            graph_segments: group(&placed, units),
            stream,
            runs: 0,
            placed,
        };
        program.stream.open(&program.placed, weights)?;
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
                let range = self.placed.layout.arena_range(&self.placed.plan, buf);
                let part = ByteRange {
                    offset: range.start,
                    bytes: range.len(),
                };
                self.placed
                    .device
                    .fill(&self.placed.memories.arena, part, 0)?;
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

    fn run_all(&mut self) -> Result<()> {
        let mut unit = 0;
        for index in 0..self.graph_segments.len() {
            self.placed.how.cancel.check()?;
            let layer = self.graph_segments[index].layer;
            if let Some(layer) = layer {
                self.stream.before(&self.placed, layer)?;
            }
            self.run_stretch(index, &mut unit)?;
            // The host is at most one stretch ahead, so that a cancel takes effect and the queue never runs dry.
            let device = &self.placed.device;
            device.record(&self.waited[index % 2], Stream::Compute)?;
            if let Some(layer) = layer {
                self.stream.after(&self.placed, layer)?;
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
        let segment = &self.graph_segments[index];
        if let Some(graph) = &segment.graph {
            // SAFETY: as in `launch`, for every launch of the graph; the program's memory lives.
            return unsafe { self.placed.device.replay(graph) };
        }
        for each in &segment.units {
            if let Some(marks) = &self.marks {
                self.placed.device.record(&marks[*unit], Stream::Compute)?;
            }
            launch(&*self.placed.device, each).map_err(|e| self.at(each, e))?;
            if self.placed.how.sync {
                self.placed
                    .device
                    .synchronize()
                    .map_err(|e| self.at(each, e))?;
            }
            *unit += 1;
        }
        Ok(())
    }

    /// The device's error with the op it happened at.
    fn at(&self, unit: &Unit, error: Error) -> Error {
        let Error::Device { problem, hint } = error else {
            return error;
        };
        let step = &self.placed.plan.steps()[unit.steps.end - 1];
        let label = &self.placed.plan.spec(step.writes).label;
        Error::Device {
            problem: format!("{} at {label}: {problem}", step.op.name()),
            hint,
        }
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
        let offset = self.placed.layout.arena_range(&self.placed.plan, buf).start;
        transfer::h2d(
            &*self.placed.device,
            &self.placed.memories.arena,
            offset,
            spec,
            value,
        )
    }

    fn run(&mut self) -> Result<()> {
        let outcome = self.run_all();
        if outcome.is_err() {
            // Nothing stays queued; that the device fails again here is no news.
            let _ = self.placed.device.synchronize();
            self.stream.forget();
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
        let view = self
            .placed
            .layout
            .view(&self.placed.plan, buf, BaseAddresses::UNPLACED);
        let offset = usize::try_from(view.address - BaseAddresses::UNPLACED.arena)
            .expect("an offset in memory fits");
        transfer::d2h(
            &*self.placed.device,
            &self.placed.memories.arena,
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
        // were lowered for its own memory, which lives until it is dropped and its queues are empty, and the compute
        // queue runs one launch after the other.
        unsafe { sound.queue(device) }
    })
}

/// Units in stretches of the plan, or all in one; a unit that reaches over an end belongs where it starts.
fn group(placed: &DeviceBuffers, units: Vec<Unit>) -> Vec<GraphSegment> {
    let DeviceBuffers { plan, layout, .. } = placed;
    let is_one = layout.streamed().is_empty() && plan.total_cost().flops < SHORT_RUN_FLOPS;
    let ends = graph_segments(plan);
    let mut found: Vec<(usize, GraphSegment)> = Vec::new();
    for unit in units {
        let index = if is_one {
            0
        } else {
            graph_segment_of(&ends, &unit.steps)
        };
        if found.last().is_none_or(|(last, _)| *last != index) {
            let layer = layout.streamed().iter().position(|(at, _)| *at == index);
            let segment = GraphSegment {
                units: Vec::new(),
                graph: None,
                layer,
            };
            found.push((index, segment));
        }
        if let Some((_, last)) = found.last_mut() {
            last.units.push(unit);
        }
    }
    found.into_iter().map(|(_, segment)| segment).collect()
}
