//! Writes clips of the world for training, or reads rendered ones and counts how often the reader is right.
//!
//!   world stream SEED FIRST COUNT SIDE FRAMES   clips to standard output, see [`stream`]
//!   world score SEED COUNT SIDE FRAMES          how often the reader is right about clips as drawn

use std::{
    io::{BufWriter, Write},
    process::ExitCode,
};

use world::{
    picture,
    prompt::{Language, prompt},
    random::Random,
    reader::{Reading, read},
    scene::{Attributes, FPS, Scene},
    sound,
};

const USAGE: &str =
    "usage: world stream SEED FIRST COUNT SIDE FRAMES | world score SEED COUNT SIDE FRAMES";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Option<Vec<u64>> = words.iter().skip(1).map(|word| word.parse().ok()).collect();
    let done = match (words.first().map(String::as_str), numbers.as_deref()) {
        (Some("stream"), Some(&[seed, first, count, side, frames])) => {
            stream(seed, first..first + count, side as usize, frames as usize)
        }
        (Some("score"), Some(&[seed, count, side, frames])) => {
            score(seed, count, side as usize, frames as usize)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("world: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A clip's scene, frames and samples: as many samples as the latents of its frames stand for.
fn clip(
    random: &mut Random,
    side: usize,
    frames: usize,
    held_out: Option<bool>,
) -> (Scene, Vec<u8>, Vec<f32>) {
    let attributes = loop {
        let attributes = Attributes::random(random);
        if held_out.is_none_or(|held_out| attributes.is_held_out() == held_out) {
            break attributes;
        }
    };
    let scene = Scene::new(attributes, frames as f64 / FPS, random);
    let mut pixels = Vec::with_capacity(frames * side * side * 3);
    (0..frames).for_each(|index| picture::frame(&scene, index, side, &mut pixels));
    let count = (frames + 2) * (sound::RATE / FPS) as usize;
    (scene, pixels, sound::samples(&scene, count))
}

/// One record a clip, little-endian: its frames `[frames, side, side, 3]` u8, its samples `[2048 (frames + 2), 2]` f32, then
/// seven prompts, each as a u32 of its bytes and those. Combinations that are held out never occur.
fn stream(
    seed: u64,
    range: std::ops::Range<u64>,
    side: usize,
    frames: usize,
) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for index in range {
        let mut random = Random::new(seed, index);
        let (scene, pixels, samples) = clip(&mut random, side, frames, Some(false));
        out.write_all(&pixels)?;
        for sample in samples {
            out.write_all(&sample.to_le_bytes())?;
        }
        for language in Language::ALL {
            let text = prompt(&scene.attributes, language, &mut random);
            out.write_all(&(text.len() as u32).to_le_bytes())?;
            out.write_all(text.as_bytes())?;
        }
    }
    out.flush()
}

/// Shares of clips of which the reader is right, of all combinations.
fn score(seed: u64, count: u64, side: usize, frames: usize) -> std::io::Result<()> {
    let mut right = [0_usize; 5];
    let names = ["colour", "shape", "motion", "pitch", "onsets"];
    let mut asked = [0_usize; 5];
    for index in 0..count {
        let (scene, pixels, samples) = clip(&mut Random::new(seed, index), side, frames, None);
        let reading = read(&pixels, side, &sound::mono(&samples));
        let checks = checks(&scene, &reading);
        for (i, check) in checks.into_iter().enumerate() {
            if let Some(is_right) = check {
                asked[i] += 1;
                right[i] += usize::from(is_right);
                if !is_right && std::env::var_os("WORLD_VERBOSE").is_some() {
                    eprintln!(
                        "{}: {scene:?}\n  {reading:?} {:?}",
                        names[i],
                        scene.contacts()
                    );
                }
            }
        }
    }
    let mut out = std::io::stdout().lock();
    for i in 0..5 {
        writeln!(
            out,
            "{:8} {:6.2} % of {}",
            names[i],
            100.0 * right[i] as f64 / asked[i].max(1) as f64,
            asked[i]
        )?;
    }
    Ok(())
}

/// Colour, shape, motion, pitch and onsets: right or wrong, or not asked.
fn checks(scene: &Scene, reading: &Reading) -> [Option<bool>; 5] {
    let attributes = scene.attributes;
    let note = sound::pitch(attributes.shape, attributes.size);
    let is_silent = attributes.motion == world::scene::Motion::Rest;
    let pitch = match reading.pitch {
        None => is_silent,
        Some(heard) => !is_silent && (12.0 * (heard / note).log2()).abs() < 0.5,
    };
    let has_contacts = !scene.contacts().is_empty();
    let onsets =
        has_contacts.then(|| !reading.contacts.is_empty() && reading.is_in_time(scene.seconds));
    [
        Some(reading.colour == Some(attributes.colour)),
        Some(reading.shape == Some(attributes.shape)),
        Some(reading.motion == Some(attributes.motion)),
        Some(pitch),
        onsets,
    ]
}
