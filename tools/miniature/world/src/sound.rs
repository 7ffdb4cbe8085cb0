//! The sound of a scene: a note at each contact, a held note while something turns or grows, silence at rest.

use std::f64::consts::TAU;

use crate::scene::{Motion, Scene, Shape, Size};

/// Samples a second, the pipeline's clock: 2048 for each latent of 25 a second.
pub const RATE: f64 = 51_200.0;

/// The note of a subject, hertz: its shape's on a pentatonic scale, an octave lower with each size. Every note is a
/// multiple of [`FPS`], so that it is at the same phase wherever a latent begins.
pub fn pitch(shape: Shape, size: Size) -> f64 {
    let lowest = match shape {
        Shape::Ball => 200.0,
        Shape::Square => 225.0,
        Shape::Triangle => 250.0,
        Shape::Star => 300.0,
        Shape::Ring => 350.0,
    };
    match size {
        Size::Small => 4.0 * lowest,
        Size::Medium => 2.0 * lowest,
        Size::Large => lowest,
    }
}

/// Strengths of the harmonics of a shape.
fn timbre(shape: Shape) -> &'static [f64] {
    match shape {
        Shape::Ball => &[1.0, 0.15],
        Shape::Square => &[1.0, 0.0, 0.35],
        Shape::Triangle => &[1.0, 0.5, 0.3],
        Shape::Star => &[1.0, 0.1, 0.5],
        Shape::Ring => &[1.0, 0.7],
    }
}

/// How loud a scene is at `time`, 0 to 1.
pub fn level(scene: &Scene, time: f64) -> f64 {
    match scene.attributes.motion {
        Motion::Rest => 0.0,
        Motion::Spin | Motion::Grow => {
            // In and out within a tenth of a second, so that nothing clicks.
            0.35 * (time.min(scene.seconds - time) * 10.0).clamp(0.0, 1.0)
        }
        _ => {
            let contacts = scene.contacts();
            let strike = contacts.iter().rev().find(|&&contact| contact <= time);
            strike.map_or(0.0, |contact| {
                let since = time - contact;
                0.7 * (since / 0.003).min(1.0) * (-since / 0.11).exp()
            })
        }
    }
}

/// What of the sound is heard left and right at `time`: it comes from where the subject is.
pub fn sides(scene: &Scene, time: f64) -> [f64; 2] {
    let right = scene.pose(time).x.clamp(0.0, 1.0);
    let angle = TAU / 4.0 * (0.15 + 0.7 * right);
    [angle.cos(), angle.sin()]
}

/// `count` samples, left and right of each in turn, within +-1.
pub fn samples(scene: &Scene, count: usize) -> Vec<f32> {
    let attributes = scene.attributes;
    let note = pitch(attributes.shape, attributes.size);
    let partials = timbre(attributes.shape);
    let sum: f64 = partials.iter().sum();
    let wave = |time: f64| -> f64 {
        let parts = partials.iter().enumerate();
        parts
            .map(|(i, strength)| strength * (TAU * note * (i + 1) as f64 * time).sin())
            .sum::<f64>()
            / sum
    };
    let at = |i: usize| {
        let time = i as f64 / RATE;
        let level = level(scene, time);
        let value = if level > 0.0 { level * wave(time) } else { 0.0 };
        sides(scene, time).map(|side| (value * side) as f32)
    };
    (0..count).flat_map(at).collect()
}

/// The mean of both channels, as the reader wants it.
pub fn mono(samples: &[f32]) -> Vec<f32> {
    samples
        .chunks_exact(2)
        .map(|both| 0.5 * (both[0] + both[1]))
        .collect()
}
