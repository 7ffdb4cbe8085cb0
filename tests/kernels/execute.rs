//! A plan run by the CUDA executor on the emulator.

use std::sync::Arc;

use gallop::{
    Tensor,
    cuda::Cuda,
    executor::{Executor, Prepare},
    plan::{Buf, Plan},
    weights::Weights,
};

use crate::{
    emulate::{Emulator, Run, device::Emulated},
    in_memory::InMemory,
    run::Tensors,
};

/// What `plan` makes of the inputs and weights of `tensors`, with kernels of `emulator`, and the kernels that ran.
pub(crate) fn execute(
    plan: &Plan,
    y: Buf,
    tensors: &Tensors,
    emulator: &Emulator,
    run: Run,
) -> Result<(Tensor, Vec<&'static str>), String> {
    let device = Emulated::new(run.policy, run.seed).with_kernels(emulator.clone());
    let weights = Weights::new(Box::new(InMemory(tensors.clone())));
    let program = Cuda::new(Arc::new(device)).load_and_prepare(plan, &weights, &Prepare::default());
    let mut program = program.map_err(|e| e.to_string())?;
    for label in ["x", "r"] {
        if let Some(buf) = plan.find(label) {
            program.write(buf, &tensors[label]).unwrap();
        }
    }
    program.run().map_err(|e| e.to_string())?;
    let units = program.report().units;
    let kernels = units.into_iter().flat_map(|unit| unit.kernels).collect();
    let got = program.read(y).map_err(|e| e.to_string())?;
    Ok((got, kernels))
}
