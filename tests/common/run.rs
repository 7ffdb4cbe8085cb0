//! One run of a small plan on the CPU, every input and weight given by its label.

use std::collections::BTreeMap;

use gallop::{
    Tensor,
    cpu::Cpu,
    executor::{Executor, Prepare, Program},
    plan::{Plan, Role},
    weights::Weights,
};

use crate::{in_memory::InMemory, random::Random};

/// Tensors by label.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// A random tensor for every input and weight of `plan`.
pub(crate) fn random_tensors(plan: &Plan, random: &mut Random) -> Tensors {
    let given = |role| matches!(role, Role::Input | Role::Weight);
    let specs = plan.buffers().iter();
    specs
        .filter(|spec| given(spec.role) && spec.part.is_none())
        .map(|spec| {
            let values = random.values(spec.shape.count());
            let tensor = Tensor::from_f32(spec.shape.clone(), &values);
            let tensor = if spec.dtype.rounds() {
                tensor.cast(spec.dtype)
            } else {
                tensor
            };
            (spec.label.clone(), tensor)
        })
        .collect()
}

/// The program after one run.
pub(crate) fn run(plan: &Plan, tensors: &Tensors, taps: bool) -> Box<dyn Program> {
    let labels = plan.weights().map(|buf| plan.spec(buf).label.clone());
    let weights = labels.map(|label| {
        let tensor = tensors[&label].clone();
        (label, tensor)
    });
    let weights = Weights::new(Box::new(InMemory(weights.collect())));
    let how = Prepare {
        taps,
        ..Prepare::default()
    };
    let mut program = Cpu.load_and_prepare(plan, &weights, &how).unwrap();
    for buf in plan.handles() {
        let spec = plan.spec(buf);
        let writable = matches!(spec.role, Role::Input | Role::State);
        if writable && spec.part.is_none() && tensors.contains_key(&spec.label) {
            program.write(buf, &tensors[&spec.label]).unwrap();
        }
    }
    program.run().unwrap();
    program
}
