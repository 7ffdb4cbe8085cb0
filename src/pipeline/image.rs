//! The first image to a latent frame.

use super::Context;
use crate::{
    Error, Result, Tensor,
    model::video_vae::{self, WanConfig, statistics, wan_encoder},
    weights::Weights,
};

/// Encodes an image f32 `[3, h, w]` in [-1, 1] with the Wan2.2 encoder to a normalised latent frame f32 `[48, 1, h /
/// 16, w / 16]`.
///
/// # Errors
/// [`Error::Input`] for another shape, [`Error::Weights`] for tensors that are missing or do not match,
/// [`Error::Memory`], [`Error::Device`], [`Error::Interrupted`].
pub fn encode_image(
    context: &Context<'_>,
    weights: &Weights,
    config: &WanConfig,
    picture: &Tensor,
) -> Result<Tensor> {
    let ratio = config.spatial_ratio();
    let &[3, height, width] = picture.shape().extents() else {
        let problem = format!("must be [3, height, width]; found {}", picture.shape());
        return Err(Error::input("picture", problem));
    };
    let whole = |extent: usize| extent > 0 && extent.is_multiple_of(ratio);
    if !whole(height) || !whole(width) {
        let problem = format!("must have multiples of {ratio} as size; found {width}x{height}");
        return Err(Error::input("picture", problem));
    }
    let (plan, ports) =
        wan_encoder::encode(config, video_vae::VaePrecision::BF16, 1, height, width);
    let mut program = context.prepare(plan, weights)?;
    let colours = picture.to_f32();
    let area = height * width;
    let pixels: Vec<f32> = (0..area)
        .flat_map(|pixel| [0, 1, 2].map(|colour| colours[colour * area + pixel]))
        .collect();
    program.write(
        ports.input,
        &Tensor::from_f32([1, height, width, 3], &pixels),
    )?;
    program.run()?;
    Ok(statistics::normalised(&program.read(ports.output)?))
}
