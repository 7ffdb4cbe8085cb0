//! Mean and standard deviation of the latent channels: constants of both networks, never taken from a checkpoint.
//! Reference: `model/vae2_2/vae2_2_module.py`, `Wan2_2_VAE`.

use crate::Tensor;

/// Channels of the latent space.
pub const LATENT_CHANNELS: usize = 48;

/// De-normalises frames of a latent `[48, frames, height, width]` for the decoders: f32 `z * std + mean`, `[frames,
/// height, width, 48]`. `frames` are indices in the order of the result and may repeat.
///
/// # Panics
/// If `z` has other channels or lacks a frame.
pub fn denormalised(z: &Tensor, frames: impl ExactSizeIterator<Item = usize>) -> Tensor {
    channels_last(z, frames, |channel, value| {
        value / (1.0 / STD[channel]) + MEAN[channel]
    })
}

/// Frames of a latent `[48, frames, height, width]` without de-normalising, `[frames, height, width, 48]`.
///
/// # Panics
/// As [`denormalised`].
pub fn as_is(z: &Tensor, frames: impl ExactSizeIterator<Item = usize>) -> Tensor {
    channels_last(z, frames, |_, value| value)
}

/// Normalises the encoder's output `mu` `[frames, height, width, 48]`: the latent `[48, frames, height, width]`, f32
/// `(mu - mean) / std`.
///
/// # Panics
/// If `mu` has other channels.
pub fn normalised(mu: &Tensor) -> Tensor {
    let [frames, height, width, channels] = four_extents(mu);
    assert_eq!(channels, LATENT_CHANNELS, "channels of {:?}", mu.shape());
    let positions = frames * height * width;
    let from = mu.to_f32();
    let mut to = vec![0.0; from.len()];
    for (position, values) in from.chunks_exact(channels).enumerate() {
        for (channel, value) in values.iter().enumerate() {
            to[channel * positions + position] = (value - MEAN[channel]) * (1.0 / STD[channel]);
        }
    }
    Tensor::from_f32([channels, frames, height, width], &to)
}

fn channels_last(
    z: &Tensor,
    frames: impl ExactSizeIterator<Item = usize>,
    f: impl Fn(usize, f32) -> f32,
) -> Tensor {
    let [channels, all_frames, height, width] = four_extents(z);
    assert_eq!(channels, LATENT_CHANNELS, "channels of {:?}", z.shape());
    let picture = height * width;
    let from = z.to_f32();
    let mut to = vec![0.0; frames.len() * picture * channels];
    let shape = [frames.len(), height, width, channels];
    for (frame, to) in frames.zip(to.chunks_exact_mut((picture * channels).max(1))) {
        assert!(frame < all_frames, "frame {frame} of {:?}", z.shape());
        for channel in 0..channels {
            let start = (channel * all_frames + frame) * picture;
            let pixels = to[channel..].iter_mut().step_by(channels);
            for (to, &value) in pixels.zip(&from[start..start + picture]) {
                *to = f(channel, value);
            }
        }
    }
    Tensor::from_f32(shape, &to)
}

fn four_extents(x: &Tensor) -> [usize; 4] {
    let extents = x.shape().extents();
    extents
        .try_into()
        .unwrap_or_else(|_| panic!("{:?} has not four axes", x.shape()))
}

/// Mean of each channel.
const MEAN: [f32; LATENT_CHANNELS] = [
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813,
    0.0891, 0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108,
    -0.2158, 0.2502, -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313,
    -0.1649, 0.0117, 0.0723, -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944,
    0.3573, -0.0548, -0.1681, -0.0667,
];

/// Standard deviation of each channel.
const STD: [f32; LATENT_CHANNELS] = [
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_undoes_denormalising_and_frames_may_repeat() {
        let values: Vec<f32> = (0..48 * 2 * 3).map(|i| i as f32 / 64.0 - 2.0).collect();
        let z = Tensor::from_f32([48, 2, 1, 3], &values);
        let u = denormalised(&z, [0, 1].into_iter());
        let back = normalised(&u);
        assert_eq!(back.shape(), z.shape());
        let off = back
            .to_f32()
            .iter()
            .zip(&values)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(off < 4e-6, "off by {off}");

        let repeated = as_is(&z, [1, 1, 0].into_iter());
        assert_eq!(repeated.shape().extents(), [3, 1, 3, 48]);
        // Channel 5 of frame 1, column 2 lies at ((5 * 2) + 1) * 3 + 2.
        assert_eq!(repeated.to_f32()[(3 + 2) * 48 + 5], values[35]);
    }
}
