//! Writes clips of the world for training, or reads rendered ones and counts how often the reader is right.
//!
//!   world stream PARTS SEED FIRST COUNT SIDE FRAMES   clips to standard output, see [`stream`]
//!   world words                                       every word and phrase of the prompts, one a line
//!   world vocabulary                                  every word of them in lower case, the longest first
//!   world score SEED COUNT SIDE FRAMES                how often the reader is right about clips as drawn

use std::{
    io::{BufWriter, Write},
    process::ExitCode,
};

use world::{
    latents, picture,
    prompt::{Language, known_words, prompt},
    random::Random,
    reader::{CHECKS, read},
    scene::{Attributes, FPS, Scene},
    sound,
};

const USAGE: &str = "usage: world stream PARTS SEED FIRST COUNT SIDE FRAMES | world words | \
     world vocabulary | world score SEED COUNT SIDE FRAMES";

/// Samples of a latent.
const HOP: usize = (sound::RATE / FPS) as usize;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let numbers = |words: &[&str]| -> Option<Vec<u64>> {
        words.iter().map(|word| word.parse().ok()).collect()
    };
    let done = match words[..] {
        ["words"] => lines(Language::ALL.into_iter().flat_map(Language::phrases)),
        ["vocabulary"] => lines(known_words().into_iter()),
        ["stream", parts, ref rest @ ..] => match numbers(rest).as_deref() {
            Some(&[seed, first, count, side, frames]) => stream(
                parts,
                seed,
                first..first + count,
                side as usize,
                frames as usize,
            ),
            _ => return usage(),
        },
        ["score", ref rest @ ..] => match numbers(rest).as_deref() {
            Some(&[seed, count, side, frames]) => {
                score(seed, count, side as usize, frames as usize)
            }
            _ => return usage(),
        },
        _ => return usage(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("world: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// A scene of a combination that is held out, is not, or either.
fn scene(random: &mut Random, frames: usize, held_out: Option<bool>) -> Scene {
    let attributes = loop {
        let attributes = Attributes::random(random);
        if held_out.is_none_or(|held_out| attributes.is_held_out() == held_out) {
            break attributes;
        }
    };
    Scene::new(attributes, frames as f64 / FPS, random)
}

/// Frames and samples of a scene: as many samples as the latents of its frames stand for.
fn clip(scene: &Scene, side: usize, frames: usize) -> (Vec<u8>, Vec<f32>) {
    (
        pixels(scene, side, frames),
        sound::samples(scene, (frames + 2) * HOP),
    )
}

fn pixels(scene: &Scene, side: usize, frames: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(frames * side * side * 3);
    (0..frames).for_each(|index| picture::frame(scene, index, side, &mut pixels));
    pixels
}

/// One record a clip, little-endian, of what `parts` names, in this order: `v` video latents
/// `[latents::VIDEO, T, side / 16, side / 16]` f32, `a` audio latents `[frames + 2, latents::AUDIO]` f32, `f` frames
/// `[frames, side, side, 3]` u8, `s` samples `[2048 (frames + 2), 2]` f32, `p` seven prompts, each as a u32 of its
/// bytes and those. Combinations that are held out never occur.
fn stream(
    parts: &str,
    seed: u64,
    range: std::ops::Range<u64>,
    side: usize,
    frames: usize,
) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for index in range {
        let mut random = Random::new(seed, index);
        let scene = scene(&mut random, frames, Some(false));
        if parts.contains('v') {
            floats(&mut out, latents::video(&scene, frames, side / 16))?;
        }
        if parts.contains('a') {
            floats(&mut out, latents::audio(&scene, frames + 2))?;
        }
        if parts.contains('f') {
            out.write_all(&pixels(&scene, side, frames))?;
        }
        if parts.contains('s') {
            floats(&mut out, sound::samples(&scene, (frames + 2) * HOP))?;
        }
        if parts.contains('p') {
            for language in Language::ALL {
                let text = prompt(&scene.attributes, language, &mut random);
                out.write_all(&(text.len() as u32).to_le_bytes())?;
                out.write_all(text.as_bytes())?;
            }
        }
    }
    out.flush()
}

fn floats(out: &mut impl Write, values: Vec<f32>) -> std::io::Result<()> {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    out.write_all(&bytes)
}

fn lines(words: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for word in words {
        writeln!(out, "{word}")?;
    }
    out.flush()
}

/// Shares of clips of which the reader is right, of all combinations.
fn score(seed: u64, count: u64, side: usize, frames: usize) -> std::io::Result<()> {
    let mut right = [0_usize; 5];
    let mut asked = [0_usize; 5];
    for index in 0..count {
        let scene = scene(&mut Random::new(seed, index), frames, None);
        let (pixels, samples) = clip(&scene, side, frames);
        let reading = read(&pixels, side, &sound::mono(&samples));
        let checks = reading.checks(&scene.attributes, scene.seconds);
        for (i, check) in checks.into_iter().enumerate() {
            if let Some(is_right) = check {
                asked[i] += 1;
                right[i] += usize::from(is_right);
                if !is_right && std::env::var_os("WORLD_VERBOSE").is_some() {
                    eprintln!(
                        "{}: {scene:?}\n  {reading:?} {:?}",
                        CHECKS[i],
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
            CHECKS[i],
            100.0 * right[i] as f64 / asked[i].max(1) as f64,
            asked[i]
        )?;
    }
    Ok(())
}
