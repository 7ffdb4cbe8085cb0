//! What the built-in miniature makes of prompts, as the reader sees and hears it in the MP4.

use std::path::Path;

use gallop::{
    cpu::Cpu,
    pipeline::{
        Context, Model, Notice, Output, Progress, QuantizationPolicy, Stage, generate,
        request::Request,
    },
};
use world::{
    prompt::{Language, prompt},
    random::Random,
    reader::{CHECKS, Reading},
    scene::{Attributes, Colour, FPS, Ground, Motion, Shape, Size},
};

use crate::{scratch::Scratch, world_clips::read_file};

/// Pixels of a side in the file: decoded are 96.
const SIDE: usize = 192;
const SECONDS: f64 = 49.0 / FPS;

struct Silent;

impl Progress for Silent {
    fn report(&self, _: Stage, _: usize, _: usize) {}

    fn notice(&self, _: &Notice) {}
}

/// Makes a clip and reads it.
fn make(path: &Path, text: &str, seed: u64) -> Reading {
    let request = Request {
        prompt: text.into(),
        scale: Some(SIDE / 96),
        seed: Some(seed),
        formats: std::env::var("PRECISION")
            .map_or_else(|_| QuantizationPolicy::default(), |p| p.parse().unwrap()),
        ..Request::default()
    };
    let output = Output {
        force: true,
        ..Output::new(path)
    };
    let model = Model::miniature();
    generate(&Context::new(&Cpu), &model, &request, &output, &Silent).unwrap();
    read_file(path, SIDE)
}

#[test]
fn three_prompts_are_shown_and_heard() {
    let folder = Scratch::new("prompts");
    let asked = |shape, colour, size, motion, ground| Attributes {
        shape,
        colour,
        size,
        motion,
        ground,
    };
    let prompts = [
        (
            "A big red ball bounces on a floor.",
            asked(
                Shape::Ball,
                Colour::Red,
                Size::Large,
                Motion::Bounce,
                Ground::Floor,
            ),
        ),
        (
            "小さい青い星が灰色の背景で右へ滑る。",
            asked(
                Shape::Star,
                Colour::Blue,
                Size::Small,
                Motion::Right,
                Ground::Grey,
            ),
        ),
        (
            "Ein grüner Ring wird größer im Dunkeln.",
            asked(
                Shape::Ring,
                Colour::Green,
                Size::Medium,
                Motion::Grow,
                Ground::Dark,
            ),
        ),
    ];
    for (text, attributes) in prompts {
        let seen = make(&folder.path("clip.mp4"), text, 1);
        let checks = seen.checks(&attributes, SECONDS);
        assert!(
            checks.iter().all(|check| *check != Some(false)),
            "{text}: {checks:?} of {CHECKS:?}; {seen:?}"
        );
    }
}

/// The figures of the README: `cargo test --release --test media -- --ignored --nocapture held_out`.
/// CLIPS is how many clips of each language are made, 100 unless told; PRECISION is what `--precision` takes.
#[test]
#[ignore = "takes minutes; its figures are for people"]
fn held_out_combinations_are_measured() {
    let folder = Scratch::new("held-out");
    let clips = std::env::var("CLIPS").map_or(100, |count| count.parse().unwrap());
    let mut all = [[0_usize; 2]; CHECKS.len()];
    println!(
        "{:10} {}",
        "",
        CHECKS.map(|name| format!("{name:>8}")).concat()
    );
    for (number, language) in Language::ALL.into_iter().enumerate() {
        let mut right = [[0_usize; 2]; CHECKS.len()];
        for index in 0..clips {
            let mut random = Random::new(31 + number as u64, index);
            let asked = loop {
                let asked = Attributes::random(&mut random);
                if asked.is_held_out() {
                    break asked;
                }
            };
            let text = prompt(&asked, language, &mut random);
            let seen = make(&folder.path("clip.mp4"), &text, index);
            let checks = seen.checks(&asked, SECONDS);
            if checks.contains(&Some(false)) {
                eprintln!("{text}: {checks:?} {asked:?} {seen:?}");
            }
            for (i, check) in checks.into_iter().enumerate() {
                for counts in [&mut right, &mut all] {
                    counts[i][0] += usize::from(check == Some(true));
                    counts[i][1] += usize::from(check.is_some());
                }
            }
        }
        println!("{:10} {}", format!("{language:?}"), row(&right));
    }
    println!("{:10} {}", "all", row(&all));
}

fn row(right: &[[usize; 2]]) -> String {
    let share = |[right, asked]: &[usize; 2]| {
        let share = 100.0 * *right as f64 / (*asked).max(1) as f64;
        format!("{share:>7.1}%")
    };
    right.iter().map(share).collect()
}
