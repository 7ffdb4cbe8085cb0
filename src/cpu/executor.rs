//! Runs a plan step by step: gathers arguments, calls the op's function, rounds at the store.

use std::{any::Any, collections::HashMap, sync::Arc, time::Instant};

use rayon::prelude::*;

use super::{
    activation,
    arg::{Arg, Args, Source, View},
    attention::attention,
    conv1d, conv3d, elementwise, embed, linear, memory, norm, patch, pixels, quantize, rope,
};
use crate::{
    DType, Result, Tensor,
    executor::{
        Cancel, Executor, Loaded, Needs, Prepare, Program, ProgramReport, UnitReport, tensor_spec,
    },
    plan::{Buf, Op, Part, Plan, Role, Spec, Step, TensorList},
    weights::{TensorSpec, Weights, check_finite},
};

/// The CPU, all cores of it.
pub struct Cpu;

impl Executor for Cpu {
    fn name(&self) -> String {
        "cpu".into()
    }

    fn check(&self, plan: &Plan, _: &Prepare) -> Result<Needs> {
        memory::check(plan)
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(memory::available().map_or(u64::MAX, |(bytes, _)| bytes))
    }

    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        _: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>> {
        let required_tensors: Vec<TensorSpec> = tensors
            .tensors()
            .iter()
            .map(|t| tensor_spec(&t.spec))
            .collect();
        weights.check(&required_tensors)?;
        let (weights, cancel) = (weights.clone(), how.cancel.clone());
        let load = move || {
            let mut tensors = HashMap::new();
            for spec in required_tensors {
                cancel.check()?;
                let tensor = weights.load(&spec)?;
                check_finite(&weights.path(&spec.name), &spec.name, &tensor)?;
                tensors.insert(spec.name, tensor);
            }
            weights.check_unchanged()?;
            Ok(CpuLoaded { tensors, weights })
        };
        // A tensor of gigabytes takes its time to come from a disk.
        Ok(Arc::new(how.cancel.watch(load)?))
    }

    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        self.check(plan, how)?;
        let loaded: Arc<dyn Any + Send + Sync> = loaded.clone();
        let loaded: Arc<CpuLoaded> = loaded.downcast().expect("weights loaded by the CPU");
        let mut tensors = vec![None; plan.buffers().len()];
        for buf in plan.weights() {
            let Spec { label, shape, .. } = plan.spec(buf);
            let tensor = loaded.tensors.get(label).filter(|t| t.shape() == shape);
            let tensor = tensor.unwrap_or_else(|| panic!("{label} {shape} is loaded"));
            tensors[buf.index()] = Some(tensor.clone());
        }
        let count = plan.buffers().len();
        let last_uses = if how.taps {
            vec![None; count]
        } else {
            plan.last_uses()
        };
        Ok(Box::new(CpuProgram {
            units: (0..plan.steps().len())
                .map(|step| UnitReport::new(plan, step..step + 1, &[]))
                .collect(),
            runs: 0,
            plan: plan.clone(),
            tensors,
            values: vec![None; count],
            last_uses,
            cancel: how.cancel.clone(),
            loaded,
        }))
    }
}

struct CpuLoaded {
    /// As the checkpoint stores them, by name.
    tensors: HashMap<String, Tensor>,
    /// Whose files they are views of.
    weights: Weights,
}

impl Loaded for CpuLoaded {
    fn bytes(&self) -> u64 {
        self.tensors.values().map(Tensor::owned_bytes).sum()
    }
}

struct CpuProgram {
    plan: Plan,
    /// Weights by buffer, as the checkpoint stores them.
    tensors: Vec<Option<Tensor>>,
    /// Values of whole buffers, rounded to their types; `None` before the first write and after the last read.
    values: Vec<Option<Vec<f32>>>,
    last_uses: Vec<Option<usize>>,
    cancel: Cancel,
    loaded: Arc<CpuLoaded>,
    units: Vec<UnitReport>,
    runs: usize,
}

impl Program for CpuProgram {
    fn write(&mut self, buf: Buf, value: &Tensor) -> Result<()> {
        let spec = self.plan.written_by_host(buf, value.shape());
        let dtype = spec.dtype;
        let values = value.to_f32().iter().map(|&v| dtype.round(v)).collect();
        self.values[buf.index()] = Some(values);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        for index in 0..self.plan.steps().len() {
            self.cancel.check()?;
            let start = Instant::now();
            self.step(index)?;
            self.units[index].times.push(start.elapsed());
        }
        self.loaded.weights.check_unchanged()?;
        self.runs += 1;
        Ok(())
    }

    fn read(&mut self, buf: Buf) -> Result<Tensor> {
        let spec = self.plan.spec(buf);
        let root = self.plan.root(buf);
        let values = self.values[root.index()].as_ref();
        let values =
            values.unwrap_or_else(|| panic!("{} was neither an output nor tapped", spec.label));
        let view = view_of(&self.plan, buf, values);
        if spec.dtype == DType::U8 {
            let bytes: Vec<u8> = view.dense().iter().map(|&v| v as u8).collect();
            return Ok(Tensor::from_u8(spec.shape.clone(), &bytes));
        }
        Ok(Tensor::from_f32(spec.shape.clone(), &view.dense()))
    }

    fn report(&self) -> ProgramReport {
        ProgramReport {
            runs: self.runs,
            units: self.units.clone(),
        }
    }
}

impl CpuProgram {
    fn step(&mut self, index: usize) -> Result<()> {
        let step = self.plan.steps()[index].clone();
        for &buf in &step.reads {
            self.ensure(buf);
        }
        let args = step.reads.iter().map(|&buf| self.arg(buf)).collect();
        let args = Args::new(args, &self.cancel);
        let result = compute(&step, &args, &self.plan);
        self.cancel.check()?;
        self.store(step.writes, result);
        for &buf in step.reads.iter().chain([&step.writes]) {
            let root = self.plan.root(buf).index();
            if self.last_uses[root] == Some(index) {
                self.values[root] = None;
            }
        }
        Ok(())
    }

    /// State that was never written is zero.
    fn ensure(&mut self, buf: Buf) {
        let root = self.plan.root(buf);
        let spec = self.plan.spec(root);
        if spec.role == Role::State && self.values[root.index()].is_none() {
            self.values[root.index()] = Some(vec![0.0; spec.shape.count()]);
        }
    }

    fn arg(&self, buf: Buf) -> Arg<'_> {
        let spec = self.plan.spec(buf);
        let source = if let Some(tensor) = &self.tensors[buf.index()] {
            Source::Weight(tensor)
        } else {
            let values = self.values[self.plan.root(buf).index()].as_ref();
            let values = values.unwrap_or_else(|| {
                panic!("{} is read before anything was written to it", spec.label)
            });
            Source::Values(view_of(&self.plan, buf, values))
        };
        Arg {
            shape: &spec.shape,
            dtype: spec.dtype,
            source,
        }
    }

    /// Rounds `result` to the buffer's type and stores it, for a part in its rectangle of the whole.
    fn store(&mut self, buf: Buf, mut result: Vec<f32>) {
        let spec = self.plan.spec(buf);
        let dtype = spec.dtype;
        assert_eq!(
            result.len(),
            spec.shape.count(),
            "elements of {}",
            spec.label
        );
        if dtype.rounds() {
            result
                .par_chunks_mut(1 << 14)
                .for_each(|chunk| chunk.iter_mut().for_each(|v| *v = dtype.round(*v)));
        }
        let Some(Part { of, rows, cols }) = &spec.part else {
            self.values[buf.index()] = Some(result);
            return;
        };
        let whole = &self.plan.spec(*of).shape;
        let pitch = whole.cols();
        let values = self.values[of.index()].get_or_insert_with(|| vec![0.0; whole.count()]);
        for (row, from) in rows.clone().zip(result.chunks_exact(cols.len().max(1))) {
            values[row * pitch + cols.start..row * pitch + cols.end].copy_from_slice(from);
        }
    }
}

fn view_of<'a>(plan: &Plan, buf: Buf, values: &'a [f32]) -> View<'a> {
    let pitch = plan.spec(plan.root(buf)).shape.cols();
    match &plan.spec(buf).part {
        Some(part) => View::new(values, pitch, part.rows.clone(), part.cols.clone()),
        None => View::new(values, pitch, 0..plan.spec(buf).shape.rows(), 0..pitch),
    }
}

/// The op's result, unrounded.
fn compute(step: &Step, args: &Args<'_>, plan: &Plan) -> Vec<f32> {
    let result = &plan.spec(step.writes).shape;
    match &step.op {
        Op::Linear { ends, scaling } => linear::linear(args, ends, *scaling),
        Op::RowScale => quantize::row_scale(args),
        Op::Quantize { factor: None } => quantize::by_rows(args),
        &Op::Quantize { factor: Some(by) } => elementwise::map(args, move |x| x * by),
        Op::RmsNorm(op) => norm::rms_norm(args, op),
        Op::L2Norm { eps } => norm::l2_norm(args, *eps),
        Op::Rope { heads } => rope::rope(args, *heads),
        Op::Attention(op) => attention(args, op),
        Op::SigmoidGate => activation::sigmoid_gate(args),
        Op::SwiGlu7 => activation::swiglu7(args),
        Op::Gelu7 => elementwise::map(args, activation::gelu7),
        Op::GeluTanh => elementwise::map(args, activation::gelu_tanh),
        Op::Silu => elementwise::map(args, activation::silu),
        Op::Relu => elementwise::map(args, |x| x.max(0.0)),
        Op::Snake => activation::snake(args),
        Op::Add => elementwise::zip(args, |x, y| x + y),
        Op::Mul => elementwise::zip(args, |x, y| x * y),
        Op::Combine => elementwise::combine(args),
        &Op::Clamp { low, high } => elementwise::map(args, move |x| x.clamp(low, high)),
        Op::Bytes => elementwise::map(args, activation::byte),
        Op::Affine => elementwise::affine(args),
        Op::Embed { scale } => embed::embed(args, *scale),
        Op::Patchify(grid) => patch::patchify(args, *grid),
        Op::Unpatchify(grid) => patch::unpatchify(args, *grid),
        Op::Copy => args[0].view().dense().into_owned(),
        Op::Conv3d(conv) => conv3d::conv3d(args, *conv, result),
        Op::Conv1d(conv) => conv1d::conv1d(args, *conv, result),
        Op::ConvTranspose1d { stride } => conv1d::conv_transpose1d(args, *stride, result),
        Op::WeightNorm => norm::weight_norm(args),
        Op::UpsampleNearest => pixels::upsample_nearest(args),
        Op::PixelShuffle(order) => pixels::pixel_shuffle(args, *order),
        Op::PixelUnshuffle(order) => pixels::pixel_unshuffle(args, *order),
        Op::FrameShuffle => pixels::frame_shuffle(args),
        &Op::AverageDown { frames, space } => pixels::average_down(args, [frames, space], result),
        &Op::DuplicateUp { frames, space } => pixels::duplicate_up(args, [frames, space], result),
    }
}
