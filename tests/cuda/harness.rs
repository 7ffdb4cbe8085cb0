//! Executors on the emulator, and plans with what they are given.

use std::sync::Arc;

use gallop::{
    DType::I32,
    Result, Tensor,
    cuda::Cuda,
    executor::{Executor, Loaded, Needs, Prepare, Program},
    model::dit::{self, DitConfig, History, Pass},
    plan::{Buf, Grid, Plan, Role, Spec, TensorList},
    weights::Weights,
};

use crate::{
    emulate::{Policy, device::Emulated},
    in_memory::InMemory,
    random::Random,
};

pub(crate) fn emulated(policy: Policy, seed: u64) -> Cuda {
    Cuda::new(Arc::new(Emulated::new(policy, seed)))
}

/// An executor with the table of fused steps switched off.
pub(crate) struct Unfused(pub(crate) Cuda);

impl Executor for Unfused {
    fn name(&self) -> String {
        format!("{}, unfused", self.0.name())
    }

    fn check(&self, plan: &Plan, how: &Prepare) -> Result<Needs> {
        self.0.check(plan, how)
    }

    fn free_bytes(&self) -> Result<u64> {
        self.0.free_bytes()
    }

    fn load(
        &self,
        weights: &Weights,
        tensors: &TensorList,
        reserve: u64,
        how: &Prepare,
    ) -> Result<Arc<dyn Loaded>> {
        self.0.load(weights, tensors, reserve, how)
    }

    fn prepare(
        &self,
        plan: &Plan,
        loaded: &Arc<dyn Loaded>,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        let how = Prepare {
            fuse: false,
            ..how.clone()
        };
        self.0.prepare(plan, loaded, &how)
    }

    fn runs_unrounded(&self) -> bool {
        self.0.runs_unrounded()
    }
}

/// A small network with every kind of layer, in one step of a sampler with guidance, history and a picture.
pub(crate) fn step() -> Plan {
    let grid = Grid {
        frames: 3,
        height: 4,
        width: 6,
    };
    step_of([2, 2], grid, 9)
}

/// The same with these layers and heads over this clip.
pub(crate) fn step_of([layers, heads]: [usize; 2], grid: Grid, audio: usize) -> Plan {
    let config = DitConfig {
        num_layers: layers,
        hidden_size: 128 * heads,
        num_heads_q: heads,
        num_heads_kv: 1,
        text_in_channels: 96,
        mm_layers: vec![0],
        gelu7_layers: vec![0],
        local_attn_layers: vec![1],
        post_norm_layers: vec![1],
        ..DitConfig::released(vec![])
    };
    let pass = Pass {
        config,
        grid,
        audio,
        text: vec![5, 7],
        window_radius: 1,
        history: History::Multistep,
        updates_audio: true,
        has_image: true,
    };
    dit::denoise(&pass).0
}

/// Random values for every weight and input of `plan`; weights are small enough that sums stay near one.
pub(crate) fn given(plan: &Plan, seed: u64) -> (Weights, Vec<(Buf, Tensor)>) {
    let mut random = Random::new(seed);
    let mut tensor = |buf: Buf, scale: f32| {
        let Spec { shape, dtype, .. } = plan.spec(buf).clone();
        if dtype == I32 {
            // Ids; every table here has three rows.
            let ids: Vec<i32> = (0..3).cycle().take(shape.count()).collect();
            return Tensor::from_i32(shape, &ids);
        }
        let values = random.values(shape.count());
        let values: Vec<f32> = values.iter().map(|v| v * scale).collect();
        Tensor::from_f32(shape, &values)
    };
    let mut weights = Vec::new();
    for buf in plan.weights() {
        let spec = plan.spec(buf);
        let scale = match spec.shape.rank() {
            1 => 0.3,
            _ => (3.0 / spec.shape.cols() as f32).sqrt(),
        };
        weights.push((spec.label.clone(), tensor(buf, scale).cast(spec.dtype)));
    }
    let is_input =
        |buf: &Buf| plan.spec(*buf).role == Role::Input && plan.spec(*buf).part.is_none();
    let inputs = plan.handles().filter(is_input);
    let inputs = inputs.map(|buf| (buf, tensor(buf, 1.0))).collect();
    (
        Weights::new(Box::new(InMemory(weights.into_iter().collect()))),
        inputs,
    )
}

pub(crate) fn no_weights() -> Weights {
    Weights::new(Box::new(InMemory([].into())))
}

/// `plan` run `times` times on `device`.
pub(crate) fn run_on(
    device: &Arc<Emulated>,
    plan: &Plan,
    how: &Prepare,
    (weights, inputs): &(Weights, Vec<(Buf, Tensor)>),
    times: usize,
) -> Box<dyn Program> {
    let mut program = Cuda::new(device.clone())
        .load_and_prepare(plan, weights, how)
        .unwrap();
    for (buf, value) in inputs {
        program.write(*buf, value).unwrap();
    }
    (0..times).for_each(|_| program.run().unwrap());
    program
}

/// The kernels that ran, in order.
pub(crate) fn kernels(program: &dyn Program) -> Vec<&'static str> {
    program
        .report()
        .units
        .into_iter()
        .flat_map(|unit| unit.kernels)
        .collect()
}
