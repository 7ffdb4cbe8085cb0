//! The sound of a scene: a note at each contact, a held note while something turns or grows, silence at rest.

use std::f64::consts::TAU;

use crate::scene::{Motion, Scene, Shape, Size};

/// Samples a second, the pipeline's clock: 2048 for each latent of 25 a second.
pub const RATE: f64 = 51_200.0;

/// The note of a subject, hertz: its shape's on a pentatonic scale, an octave lower with each size.
pub fn pitch(shape: Shape, size: Size) -> f64 {
    let semitones = match shape {
        Shape::Ball => 0.0,
        Shape::Square => 2.0,
        Shape::Triangle => 4.0,
        Shape::Star => 7.0,
        Shape::Ring => 9.0,
    };
    let octave = match size {
        Size::Small => 880.0,
        Size::Medium => 440.0,
        Size::Large => 220.0,
    };
    octave * (semitones / 12.0_f64).exp2()
}

/// Strengths of the harmonics of a shape.
fn timbre(shape: Shape) -> &'static [f64] {
    match shape {
        Shape::Ball => &[1.0, 0.15],
        Shape::Square => &[1.0, 0.0, 0.35, 0.0, 0.2],
        Shape::Triangle => &[1.0, 0.5, 0.33, 0.25],
        Shape::Star => &[1.0, 0.1, 0.5, 0.1, 0.1, 0.3],
        Shape::Ring => &[1.0, 0.7, 0.1, 0.4],
    }
}

/// `count` samples, left and right of each in turn, within +-1. The sound comes from where the subject is.
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
    let contacts = scene.contacts();
    let mut samples = Vec::with_capacity(2 * count);
    for i in 0..count {
        let time = i as f64 / RATE;
        let value = match attributes.motion {
            Motion::Rest => 0.0,
            Motion::Spin | Motion::Grow => {
                // In and out within a tenth of a second, so that nothing clicks.
                let held = (time.min(scene.seconds - time) * 10.0).clamp(0.0, 1.0);
                0.35 * held * wave(time)
            }
            _ => {
                let strike = contacts.iter().rev().find(|&&contact| contact <= time);
                strike.map_or(0.0, |contact| {
                    let since = time - contact;
                    0.7 * (since / 0.003).min(1.0) * (-since / 0.11).exp() * wave(since)
                })
            }
        };
        let right = scene.pose(time).x.clamp(0.0, 1.0);
        let angle = TAU / 4.0 * (0.15 + 0.7 * right);
        samples.push((value * angle.cos()) as f32);
        samples.push((value * angle.sin()) as f32);
    }
    samples
}

/// The mean of both channels, as the reader wants it.
pub fn mono(samples: &[f32]) -> Vec<f32> {
    samples
        .chunks_exact(2)
        .map(|both| 0.5 * (both[0] + both[1]))
        .collect()
}
