//! A prompt's tokens to the features that condition the denoising network.

use super::Context;
use crate::{
    Error, Result, Tensor,
    model::text_encoder::{self, TextEncoderConfig},
    weights::Weights,
};

/// Encodes the tokens `ids` of one prompt to features `[min(T, 640), hidden_size]`, f32 values that f16 can hold.
/// All tokens attend to each other; the cut comes afterwards. `softcap` is off in the reference.
///
/// # Errors
/// No tokens, or one that the embedding does not have; weights that are missing or of another shape, too little
/// memory, the device, or [`Error::Interrupted`].
pub fn encode_prompt(
    context: &Context<'_>,
    weights: &Weights,
    config: &TextEncoderConfig,
    ids: &[u32],
    softcap: bool,
) -> Result<Tensor> {
    if ids.is_empty() {
        return Err(Error::input(
            "prompt",
            "must have at least one token; found none",
        ));
    }
    let tokens = ids
        .iter()
        .map(|&id| token(id, config.vocab_size))
        .collect::<Result<Vec<i32>>>()?;
    let (plan, ports) = text_encoder::encode(config, ids.len(), softcap);
    let mut program = context.prepare(plan, weights)?;
    program.write(ports.ids, &Tensor::from_i32([ids.len()], &tokens))?;
    program.write(ports.rope, &text_encoder::rope_table(config, ids.len()))?;
    program.run()?;
    Ok(text_encoder::features(&program.read(ports.output)?))
}

/// The id as the plan takes it, if the embedding has its row.
fn token(id: u32, vocab_size: usize) -> Result<i32> {
    let in_range = (id as usize) < vocab_size;
    i32::try_from(id).ok().filter(|_| in_range).ok_or_else(|| {
        let problem = format!(
            "token ids must be below {vocab_size}, the text encoder's vocabulary; found {id}; is the tokenizer \
             another model's?"
        );
        Error::input("prompt", problem)
    })
}
