//! The safetensors file in which latents are saved.

use super::denoise::Latents;
use crate::{
    Result,
    media::AtomicFile,
    weights::{Info, Writer},
};

/// Writes the latents as safetensors: `video` `[48, T, H, W]` and `audio` `[A, 64]`, f32.
///
/// # Errors
/// [`crate::Error::Output`] if the file cannot be written.
pub fn save_latents(file: &mut AtomicFile, latents: &Latents) -> Result<()> {
    let tensors = [("audio", &latents.audio), ("video", &latents.video)];
    let infos = tensors.map(|(name, t)| {
        (
            name,
            Info {
                shape: t.shape().clone(),
                dtype: t.dtype(),
            },
        )
    });
    let infos = infos.iter().map(|(name, info)| (*name, info));
    let mut sink = |bytes: &[u8]| file.write(bytes);
    let mut writer = Writer::new(infos, None, &mut sink)?;
    for (_, tensor) in tensors {
        writer.write(tensor.bytes())?;
    }
    writer.finish();
    Ok(())
}
