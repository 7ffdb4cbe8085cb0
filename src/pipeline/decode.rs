//! Video latents to frames, by either video decoder.

use super::{Context, Precision};
use crate::{
    DType, Result, Tensor,
    executor::Program,
    model::video_vae::{
        self, Chunks, Ports, TurboConfig, WanConfig, statistics,
        turbo::{self, CallShape},
        wan_decoder,
    },
    plan::Plan,
    weights::Weights,
};

/// Decodes `z` `[48, T, h, w]` with the TurboVAED decoder to `4 T - 3` frames. `sink` gets them call by call, in
/// order, as u8 `[frames, 16 h, 16 w * 3]`; `progress` gets the calls done and all calls. One program is kept at a
/// time; successive calls of one shape share it.
///
/// # Errors
/// [`crate::Error::Weights`] for tensors that are missing or do not match,
/// [`crate::Error::Memory`], [`crate::Error::Device`],
/// [`crate::Error::Interrupted`], and the errors of `sink`.
///
/// # Panics
/// If `z` has other channels or no frames.
pub fn decode_video(
    context: &Context<'_>,
    weights: &Weights,
    config: &TurboConfig,
    z: &Tensor,
    progress: &mut dyn FnMut(usize, usize),
    sink: &mut dyn FnMut(Tensor) -> Result<()>,
) -> Result<()> {
    let z = as_the_reference_holds(context, z);
    let chunks = Chunks::new(config, z.shape()[1]);
    let total = chunks.calls.len();
    let mut ready: Option<(CallShape, Ports, Box<dyn Program>)> = None;
    progress(0, total);
    for (done, call) in chunks.calls.iter().enumerate() {
        context.cancel.check()?;
        let shape = CallShape {
            frames: call.latents.len(),
            height: z.shape()[2],
            width: z.shape()[3],
            first: call.first,
        };
        let (ports, program) = match &mut ready {
            Some((of, ports, program)) if *of == shape => (*ports, program),
            other => {
                // Free the old program's memory before the next one is prepared.
                *other = None;
                let made = turbo::decoder_call(config, video_vae::VaePrecision::BF16, shape);
                let (plan, ports) = in_bytes(made);
                let program = context.prepare(plan, weights)?;
                let (_, _, program) = other.insert((shape, ports, program));
                (ports, program)
            }
        };
        program.write(
            ports.input,
            &statistics::denormalised(&z, chunks.latents_of(call)),
        )?;
        program.run()?;
        sink(call.kept(&program.read(ports.output)?))?;
        progress(done + 1, total);
    }
    Ok(())
}

/// Decodes `z` `[48, T, h, w]` with the Wan2.2 decoder, the whole sequence at once, to u8 `[4 T - 3, 16 h, 16 w * 3]`.
///
/// # Errors
/// As [`decode_video`], without a sink.
///
/// # Panics
/// As [`decode_video`].
pub fn decode_wan(
    context: &Context<'_>,
    weights: &Weights,
    config: &WanConfig,
    z: &Tensor,
) -> Result<Tensor> {
    let z = as_the_reference_holds(context, z);
    let [frames, height, width] = [1, 2, 3].map(|axis| z.shape()[axis]);
    let precision = video_vae::VaePrecision::BF16;
    let (plan, ports) = in_bytes(wan_decoder::decode(
        config, precision, frames, height, width,
    ));
    let mut program = context.prepare(plan, weights)?;
    program.write(ports.input, &statistics::denormalised(&z, 0..frames))?;
    program.run()?;
    program.read(ports.output)
}

/// A decoder whose output is bytes, so that less is copied to the host.
pub(crate) fn in_bytes((plan, ports): (Plan, Ports)) -> (Plan, Ports) {
    let (plan, output) = plan.in_bytes(ports.output);
    (plan, Ports { output, ..ports })
}

/// `z` rounded to bf16, if the executor rounds: the reference does so before it de-normalises in f32.
fn as_the_reference_holds(context: &Context<'_>, z: &Tensor) -> Tensor {
    match context.precision {
        Precision::Reference => z.cast(DType::Bf16),
        Precision::F32 => z.clone(),
    }
}
