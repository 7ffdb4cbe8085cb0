//! Clips of the miniature's world, enlarged and encoded as the program does it, and what the reader then sees and hears in the file.

use std::{fs, path::Path};

use gallop::media::{Clip, EncodeOptions, enlarge, open_voice, resample_sinc};
use rayon::prelude::*;
use world::{
    picture::frame,
    random::Random,
    reader::{CHECKS, Reading, read},
    scene::{Attributes, FPS, Scene},
    sound,
};

use crate::{
    boxes,
    clips::{annex_b, write},
    h264_decoder::decode,
    scratch::Scratch,
};

/// Pixels of a side as drawn, which are the miniature's, and in the file.
const DRAWN: usize = 96;
const SIDE: usize = 192;
const FRAMES: usize = 49;
const CLIPS: u64 = 100;

fn scene(index: u64) -> Scene {
    let mut random = Random::new(11, index);
    Scene::new(
        Attributes::random(&mut random),
        FRAMES as f64 / FPS,
        &mut random,
    )
}

/// What the reader sees in the MP4 of a scene.
fn through_a_file(folder: &Scratch, index: u64) -> Reading {
    let scene = scene(index);
    let mut frames = Vec::new();
    (0..FRAMES).for_each(|index| frame(&scene, index, DRAWN, &mut frames));
    let frames = enlarge(&frames, (DRAWN, DRAWN), SIDE / DRAWN);
    let samples = sound::samples(&scene, 2048 * FRAMES);
    let channel = |index: usize| {
        let one: Vec<f32> = samples.iter().skip(index).step_by(2).copied().collect();
        resample_sinc(&one, 51_200, 44_100)
    };
    let (left, right) = (channel(0), channel(1));
    let audio: Vec<f32> = left
        .iter()
        .zip(&right)
        .flat_map(|(&l, &r)| [l, r])
        .collect();
    let clip = Clip {
        width: SIDE,
        height: SIDE,
        frames: &frames,
        audio: &audio[..2 * 1764 * FRAMES],
    };
    let path = folder.path(&format!("{index}.mp4"));
    write(&path, &clip, &EncodeOptions::default()).unwrap();
    read_file(&path, SIDE)
}

/// What the reader sees in an MP4 of `side` x `side` pixels.
pub(crate) fn read_file(path: &Path, side: usize) -> Reading {
    let tracks = boxes::tracks(&fs::read(path).unwrap());
    let decoded = decode(&annex_b(&tracks[0]), side, side);
    let pixels: Vec<u8> = decoded
        .iter()
        .flat_map(|planes| rgb(planes, side))
        .collect();
    read(&pixels, side, &open_voice(path, 60.0).unwrap().samples)
}

/// Red, green, blue of planes of BT.709 in limited range, chroma of the nearest pixel.
fn rgb(planes: &[Vec<u8>; 3], side: usize) -> Vec<u8> {
    let pixel = |at: usize| {
        let half = at / side / 2 * (side / 2) + at % side / 2;
        let luma = (f32::from(planes[0][at]) - 16.0) * 255.0 / 219.0;
        let [cb, cr] = [1, 2].map(|i| (f32::from(planes[i][half]) - 128.0) * 255.0 / 224.0);
        [
            luma + 1.5748 * cr,
            luma - 0.1873 * cb - 0.4681 * cr,
            luma + 1.8556 * cb,
        ]
        .map(|value| value.round() as u8)
    };
    (0..side * side).flat_map(pixel).collect()
}

#[test]
fn what_a_clip_shows_is_read_from_its_file() {
    let folder = Scratch::new("world");
    let readings: Vec<Reading> = (0..CLIPS)
        .into_par_iter()
        .map(|index| through_a_file(&folder, index))
        .collect();
    let wrong = |index: usize| {
        let both = (0..CLIPS).zip(&readings);
        let wrong = both.filter(|(number, seen)| {
            let scene = scene(*number);
            seen.checks(&scene.attributes, scene.seconds)[index] == Some(false)
        });
        wrong.collect::<Vec<_>>()
    };
    for (index, name) in CHECKS.iter().enumerate() {
        // The reader must be right in 99 of 100.
        let wrong = wrong(index);
        assert!(wrong.len() as u64 <= CLIPS / 100, "{name}: {wrong:#?}");
    }
}
