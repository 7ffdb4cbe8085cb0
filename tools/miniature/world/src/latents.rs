//! The latents of a scene: what the decoders draw and play from, and what the denoising network learns to make.
//!
//! They are written down rather than learned by an encoder. Of the picture, by cell of 16 x 16 pixels and four
//! frames: the distance to the subject's edge at four places of the cell in each frame; what is the same everywhere:
//! how far the subject has turned, its colour, its shape, the ground; and where the cell is, without which a decoder
//! that doubles pictures by repeating pixels could not tell the four places apart. Of the sound, by 2048 samples: how
//! loud it is at four times on either side, and which shape and size of subject it is the note of. The other channels
//! are unused and zero. Channels are scaled to mean 0 and deviation 1 over many clips.

use crate::{
    picture::distance,
    scene::{FPS, Ground, Scene, Shape, Size},
    sound::{level, sides},
};

/// Channels of a video latent in use, of 48.
pub const VIDEO: usize = 33;
/// Channels of an audio latent in use, of 64.
pub const AUDIO: usize = 16;

/// Mean and deviation of red, green and blue.
const COLOUR: [(f64, f64); 3] = [(0.69, 0.32), (0.54, 0.27), (0.515, 0.345)];
/// Distances, in parts of a frame's side, that a latent tells apart well.
const NEAR: f64 = 0.15;

/// Video latents `[VIDEO, (frames + 3) / 4, cells, cells]`, channel slowest.
pub fn video(scene: &Scene, frames: usize, cells: usize) -> Vec<f32> {
    let times = frames.div_ceil(4);
    let area = cells * cells;
    let mut latents = vec![0.0; VIDEO * times * area];
    let attributes = scene.attributes;
    let corners = match attributes.shape {
        Shape::Ball | Shape::Ring => None,
        Shape::Triangle => Some(3.0),
        Shape::Square => Some(4.0),
        Shape::Star => Some(5.0),
    };
    for t in 0..times {
        // The first latent is of the first frame alone.
        let poses = [3, 2, 1, 0].map(|back| scene.pose((4 * t).saturating_sub(back) as f64 / FPS));
        let mut put = |channel: usize, cell: usize, value: f64| {
            latents[(channel * times + t) * area + cell] = value as f32;
        };
        for cell in 0..area {
            let (row, col) = (cell / cells, cell % cells);
            for (k, pose) in poses.iter().enumerate() {
                for place in 0..4 {
                    let at = |index: usize, part: usize| {
                        (index as f64 + 0.25 + 0.5 * part as f64) / cells as f64
                    };
                    let (x, y) = (at(col, place % 2), at(row, place / 2));
                    let away = match pose.is_visible {
                        true => (distance(attributes.shape, pose, x, y) / NEAR).tanh(),
                        false => 1.0,
                    };
                    put(4 * k + place, cell, (away - 0.805) / 0.33);
                }
            }
            for (i, pose) in [&poses[1], &poses[3]].into_iter().enumerate() {
                let (sin, cos) = corners.map_or((0.0, 0.0), |n| (n * pose.angle).sin_cos());
                put(16 + 2 * i, cell, (cos - 0.56) / 0.53);
                put(17 + 2 * i, cell, sin / 0.19);
            }
            for (i, value) in attributes.colour.rgb().into_iter().enumerate() {
                put(
                    20 + i,
                    cell,
                    (f64::from(value) / 255.0 - COLOUR[i].0) / COLOUR[i].1,
                );
            }
            for (i, ground) in Ground::ALL.into_iter().enumerate() {
                put(23 + i, cell, one_of(3.0, ground == attributes.ground));
            }
            for (i, shape) in Shape::ALL.into_iter().enumerate() {
                put(26 + i, cell, one_of(5.0, shape == attributes.shape));
            }
            for (i, index) in [col, row].into_iter().enumerate() {
                let middle = (index as f64 + 0.5) / cells as f64;
                put(31 + i, cell, (middle - 0.5) / 0.285);
            }
        }
    }
    latents
}

/// Audio latents `[count, AUDIO]`.
pub fn audio(scene: &Scene, count: usize) -> Vec<f32> {
    let attributes = scene.attributes;
    let mut latents = Vec::with_capacity(count * AUDIO);
    for index in 0..count {
        let times = [0.125, 0.375, 0.625, 0.875].map(|part| (index as f64 + part) / FPS);
        for side in 0..2 {
            for time in times {
                let loud = level(scene, time) * sides(scene, time)[side];
                latents.push((loud.sqrt() - 0.17) / 0.21);
            }
        }
        latents.extend(Shape::ALL.map(|shape| one_of(5.0, shape == attributes.shape)));
        latents.extend(Size::ALL.map(|size| one_of(3.0, size == attributes.size)));
    }
    latents.into_iter().map(|value| value as f32).collect()
}

/// One of `count` equally likely choices, with mean 0 and deviation 1.
fn one_of(count: f64, is_it: bool) -> f64 {
    let mean = 1.0 / count;
    (f64::from(is_it) - mean) / (mean * (1.0 - mean)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{random::Random, scene::Attributes};

    fn scenes() -> impl Iterator<Item = Scene> {
        (0..600).map(|index| {
            let mut random = Random::new(5, index);
            Scene::new(Attributes::random(&mut random), 49.0 / FPS, &mut random)
        })
    }

    /// Mean and deviation.
    fn spread(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let squares = values.iter().map(|&v| (f64::from(v) - mean).powi(2));
        (mean, (squares.sum::<f64>() / count).sqrt())
    }

    #[test]
    fn channels_have_the_spread_of_noise() {
        let mut video = vec![Vec::new(); VIDEO];
        let mut audio = vec![Vec::new(); AUDIO];
        for scene in scenes() {
            let part = 13 * 6 * 6;
            for (channel, values) in super::video(&scene, 49, 6).chunks_exact(part).enumerate() {
                video[channel].extend_from_slice(values);
            }
            for latent in super::audio(&scene, 51).chunks_exact(AUDIO) {
                for (channel, &value) in latent.iter().enumerate() {
                    audio[channel].push(value);
                }
            }
        }
        for (channel, values) in video.iter().chain(&audio).enumerate() {
            let (mean, deviation) = spread(values);
            assert!(
                mean.abs() < 0.25 && (0.7..1.3).contains(&deviation),
                "{channel}: {mean} {deviation}"
            );
        }
    }

    #[test]
    fn a_distance_is_zero_at_the_edge_and_below_inside() {
        for scene in scenes().take(40) {
            let latents = super::video(&scene, 49, 6);
            let pose = scene.pose(0.0);
            // Of the first frame, in the place of the cell that the middle of the subject lies in.
            let (col, row) = ((pose.x * 12.0) as usize, (pose.y * 12.0) as usize);
            let place = row % 2 * 2 + col % 2;
            let cell = row / 2 * 6 + col / 2;
            let value = f64::from(latents[(12 + place) * 13 * 36 + cell]);
            let middle = |index: usize| (index as f64 + 0.5) / 12.0;
            let away = distance(scene.attributes.shape, &pose, middle(col), middle(row));
            let back = (value * 0.33 + 0.805).atanh() * NEAR;
            let is_same = (back - away).abs() < 1e-4;
            assert!(is_same || !pose.is_visible, "{scene:?}: {back} {away}");
        }
    }
}
