//! Looks at a clip and says what it shows and sounds like, from frames and samples alone.
//!
//! Everything is measured: what differs from the ground is the subject; its mean colour, the outline around its middle,
//! the way of its middle through the frames; the period of its sound and when the sound sets in. [`read`] tells
//! measurements as the attributes they are nearest to, which the makers of a clip can be held to.

use crate::scene::{Attributes, Colour, FPS, Motion, Shape, Size};
use crate::sound::{RATE, pitch};

/// What [`Reading::checks`] checks.
pub const CHECKS: [&str; 5] = ["colour", "shape", "motion", "pitch", "onsets"];

/// What a clip shows.
#[derive(Clone, Debug)]
pub struct Reading {
    /// None where there is no subject.
    pub colour: Option<Colour>,
    pub shape: Option<Shape>,
    pub motion: Option<Motion>,
    /// Hertz; none in silence.
    pub pitch: Option<f64>,
    /// Times at which a sound sets in, seconds.
    pub onsets: Vec<f64>,
    /// Times at which the subject touches or appears, seconds.
    pub contacts: Vec<f64>,
}

impl Reading {
    /// The note that is nearest to the pitch, and how many semitones it is away.
    pub fn nearest_note(&self) -> Option<(Shape, Size, f64)> {
        let heard = self.pitch?;
        let notes = Shape::ALL
            .into_iter()
            .flat_map(|shape| Size::ALL.map(|size| (shape, size)));
        let off = |(shape, size)| (12.0 * (heard / pitch(shape, size)).log2()).abs();
        let (shape, size) = notes.min_by(|&a, &b| off(a).total_cmp(&off(b)))?;
        Some((shape, size, off((shape, size))))
    }

    /// Whether the clip of `seconds` shows what was asked, by [`CHECKS`]; `None` where nothing was asked: a motion
    /// without contacts has no onsets.
    pub fn checks(&self, asked: &Attributes, seconds: f64) -> [Option<bool>; 5] {
        let note = pitch(asked.shape, asked.size);
        let is_silent = asked.motion == Motion::Rest;
        let is_in_tune = match self.pitch {
            None => is_silent,
            Some(heard) => !is_silent && (12.0 * (heard / note).log2()).abs() < 0.5,
        };
        let onsets = asked
            .motion
            .has_contacts()
            .then(|| !self.contacts.is_empty() && self.is_in_time(seconds));
        [
            Some(self.colour == Some(asked.colour)),
            Some(self.shape == Some(asked.shape)),
            Some(self.motion == Some(asked.motion)),
            Some(is_in_tune),
            onsets,
        ]
    }

    /// Whether every contact is heard within a frame, and nothing is heard without one; contacts in the last frames of
    /// a clip of `seconds` do not count, since nobody can see or hear them out.
    pub fn is_in_time(&self, seconds: f64) -> bool {
        let early = |times: &[f64]| -> Vec<f64> {
            times
                .iter()
                .copied()
                .filter(|&time| time < seconds - 0.16)
                .collect()
        };
        let near = |time: f64, others: &[f64]| {
            others.iter().any(|other| (time - other).abs() <= 1.0 / FPS)
        };
        let both = |some: &[f64], all: &[f64]| early(some).iter().all(|&time| near(time, all));
        both(&self.onsets, &self.contacts) && both(&self.contacts, &self.onsets)
    }
}

/// One frame's subject.
struct Blob {
    /// Share of the frame's pixels.
    area: f64,
    x: f64,
    y: f64,
    /// Mean red, green, blue of its inner pixels.
    rgb: [f64; 3],
    /// Mean difference of its inner pixels from the ground, of the channel that differs most.
    contrast: f64,
    /// Radius of the outline by direction, over the mean radius, and whether the middle is empty.
    outline: [f64; DIRECTIONS],
    is_hollow: bool,
    /// Whether it touches the frame's edge.
    is_cut: bool,
}

const DIRECTIONS: usize = 60;
/// How far a channel must be from the ground's to be the subject's.
const CONTRAST: f64 = 40.0;
/// Least share of the frame that is a subject.
const LEAST_AREA: f64 = 0.004;

/// Reads `frames` of `side` x `side` pixels, red, green, blue, and the mean of both channels' samples at [`RATE`].
pub fn read(frames: &[u8], side: usize, sound: &[f32]) -> Reading {
    let frames: Vec<&[u8]> = frames.chunks_exact(3 * side * side).collect();
    let ground = ground(&frames, side);
    let blobs: Vec<Option<Blob>> = frames
        .iter()
        .map(|frame| blob(frame, side, &ground))
        .collect();
    let blobs = whole(blobs);
    let (motion, contacts) = motion(&blobs);
    let (pitch, onsets) = hear(sound);
    Reading {
        colour: colour(&blobs),
        shape: shape(&blobs),
        motion,
        pitch,
        onsets,
        contacts,
    }
}

/// The blobs without those that are half there: of less than this part of the strongest one's contrast.
fn whole(blobs: Vec<Option<Blob>>) -> Vec<Option<Blob>> {
    const PART: f64 = 0.55;
    let strongest = blobs.iter().flatten().map(|b| b.contrast);
    let strongest = strongest.fold(0.0, f64::max);
    let is_whole = |b: &Blob| b.contrast > PART * strongest;
    blobs
        .into_iter()
        .map(|blob| blob.filter(is_whole))
        .collect()
}

/// The ground's grey by row: the lower quartile of the pixels on both sides in all frames, since subjects are brighter
/// than it and cover the sides at few times if at all.
fn ground(frames: &[&[u8]], side: usize) -> Vec<f64> {
    let row = |row: usize| {
        let mut values: Vec<u8> = Vec::new();
        for frame in frames.iter().step_by(2) {
            let cols = (0..side).filter(|col| col * 4 < side || col * 4 >= 3 * side);
            // Of the brightest channel, since every colour is brighter than the ground there.
            values.extend(cols.map(|col| {
                let pixel = &frame[3 * (row * side + col)..][..3];
                pixel.iter().copied().max().unwrap_or(0)
            }));
        }
        values.sort_unstable();
        f64::from(values[values.len() / 4])
    };
    (0..side).map(row).collect()
}

fn blob(frame: &[u8], side: usize, ground: &[f64]) -> Option<Blob> {
    let differs = |row: usize, col: usize| {
        let pixel = &frame[3 * (row * side + col)..][..3];
        pixel
            .iter()
            .any(|&c| (f64::from(c) - ground[row]).abs() > CONTRAST)
    };
    let mask: Vec<bool> = (0..side * side)
        .map(|i| differs(i / side, i % side))
        .collect();
    let inside: Vec<(f64, f64)> = (0..side * side)
        .filter(|&i| mask[i])
        .map(|i| ((i % side) as f64 + 0.5, (i / side) as f64 + 0.5))
        .collect();
    let count = inside.len() as f64;
    let pixels = (side * side) as f64;
    if count / pixels < LEAST_AREA {
        return None;
    }
    let (x, y) = inside
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
    let (x, y) = (x / count, y / count);
    let mut rgb = [0.0; 3];
    let (mut inner, mut contrast) = (0.0, 0.0);
    for (row, &grey) in ground.iter().enumerate().take(side - 1).skip(1) {
        for col in 1..side - 1 {
            let at = row * side + col;
            if [at, at - 1, at + 1, at - side, at + side]
                .iter()
                .all(|&i| mask[i])
            {
                inner += 1.0;
                let off = |&c: &u8| (f64::from(c) - grey).abs();
                contrast += frame[3 * at..3 * at + 3]
                    .iter()
                    .map(off)
                    .fold(0.0, f64::max);
                for (sum, &c) in rgb.iter_mut().zip(&frame[3 * at..3 * at + 3]) {
                    *sum += f64::from(c);
                }
            }
        }
    }
    let edge = (0..side).any(|i| {
        mask[i] || mask[i * side] || mask[side * side - 1 - i] || mask[i * side + side - 1]
    });
    let is_in = |x: f64, y: f64| {
        let (col, row) = (x.floor(), y.floor());
        let inside = (0.0..side as f64).contains(&col) && (0.0..side as f64).contains(&row);
        inside && mask[row as usize * side + col as usize]
    };
    // The farthest point of the subject in each direction.
    let mut outline = [0.0; DIRECTIONS];
    for (i, radius) in outline.iter_mut().enumerate() {
        let angle = std::f64::consts::TAU * i as f64 / DIRECTIONS as f64;
        let steps = (1..side).rev().map(|s| s as f64 * 0.5);
        *radius = steps
            .clone()
            .find(|s| is_in(x + s * angle.sin(), y - s * angle.cos()))
            .unwrap_or(0.0);
    }
    let mean = outline.iter().sum::<f64>() / DIRECTIONS as f64;
    outline.iter_mut().for_each(|r| *r /= mean.max(1e-9));
    // A fifth of the radius around the middle.
    let probe = mean * 0.2;
    let hits = (0..8).filter(|i| {
        let angle = std::f64::consts::TAU * f64::from(*i) / 8.0;
        is_in(x + probe * angle.sin(), y - probe * angle.cos())
    });
    Some(Blob {
        area: count / pixels,
        x: x / side as f64,
        y: y / side as f64,
        rgb: rgb.map(|c| c / f64::max(inner, 1.0)),
        contrast: contrast / f64::max(inner, 1.0),
        outline,
        is_hollow: hits.count() <= 3,
        is_cut: edge,
    })
}

/// The colour whose direction from the ground's grey is nearest to the mean of the larger blobs.
fn colour(blobs: &[Option<Blob>]) -> Option<Colour> {
    let largest = blobs.iter().flatten().map(|b| b.area).fold(0.0, f64::max);
    let clear = || blobs.iter().flatten().filter(|b| b.area > 0.5 * largest);
    let count = clear().count() as f64;
    let mean = clear().fold([0.0; 3], |sum, b| {
        [0, 1, 2].map(|i| sum[i] + b.rgb[i] / count)
    });
    let distance = |colour: &Colour| {
        let want = colour.rgb().map(f64::from);
        (0..3).map(|i| (want[i] - mean[i]).powi(2)).sum::<f64>()
    };
    let nearest = Colour::ALL
        .into_iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.filter(|_| count > 0.0)
}

/// Strength of the `n`-th harmonic of an outline, and its phase: the angle of a corner.
fn harmonic(outline: &[f64; DIRECTIONS], n: usize) -> (f64, f64) {
    let (mut re, mut im) = (0.0, 0.0);
    for (i, radius) in outline.iter().enumerate() {
        let angle = std::f64::consts::TAU * (n * i) as f64 / DIRECTIONS as f64;
        re += radius * angle.cos();
        im += radius * angle.sin();
    }
    (
        re.hypot(im) * 2.0 / DIRECTIONS as f64,
        im.atan2(re) / n as f64,
    )
}

/// A vote over the frames that show it whole.
fn shape(blobs: &[Option<Blob>]) -> Option<Shape> {
    let mut votes = [0_usize; 5];
    let any_whole = blobs.iter().flatten().any(|b| !b.is_cut);
    for blob in blobs.iter().flatten().filter(|b| !b.is_cut || !any_whole) {
        let [three, four, five] = [3, 4, 5].map(|n| harmonic(&blob.outline, n).0);
        let strongest = three.max(four).max(five);
        let seen = if blob.is_hollow && strongest < 0.1 {
            Shape::Ring
        } else if strongest < 0.055 {
            Shape::Ball
        } else if strongest == three {
            Shape::Triangle
        } else if strongest == four {
            Shape::Square
        } else {
            Shape::Star
        };
        votes[seen as usize] += 1;
    }
    let most = *votes.iter().max()?;
    Shape::ALL
        .into_iter()
        .find(|&s| votes[s as usize] == most && most > 0)
}

/// The motion, and the times of contacts as far as they are seen.
fn motion(blobs: &[Option<Blob>]) -> (Option<Motion>, Vec<f64>) {
    let seen: Vec<(f64, &Blob)> = blobs
        .iter()
        .enumerate()
        .filter_map(|(i, b)| Some((i as f64 / FPS, b.as_ref()?)))
        .collect();
    if seen.len() < 4 {
        return (None, Vec::new());
    }
    let missing = blobs.len() - seen.len();
    if missing * 10 > blobs.len() {
        let appears = (1..blobs.len()).filter(|&i| blobs[i - 1].is_none() && blobs[i].is_some());
        return (
            Some(Motion::Blink),
            // Between the frame that lacks it and the one that has it.
            appears.map(|i| (i as f64 - 0.5) / FPS).collect(),
        );
    }
    let (first, last) = (seen[0].1, seen[seen.len() - 1].1);
    let range = |of: fn(&Blob) -> f64| {
        let values = || seen.iter().map(|(_, b)| of(b));
        values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min)
    };
    let (wide, high) = (range(|b| b.x), range(|b| b.y));
    let lows = turns(&seen);
    let net = last.y - first.y;
    if high > 0.12 && (lows.len() >= 2 || (!lows.is_empty() && net.abs() < 0.6 * high)) {
        return (Some(Motion::Bounce), lows);
    }
    if wide.max(high) > 0.15 {
        let along: fn(&Blob) -> f64 = if wide > high { |b| b.x } else { |b| b.y };
        let motion = match (wide > high, along(last) > along(first)) {
            (true, false) => Motion::Left,
            (true, true) => Motion::Right,
            (false, false) => Motion::Up,
            (false, true) => Motion::Down,
        };
        return (Some(motion), arrival(&seen, along).into_iter().collect());
    }
    if last.area / first.area > 2.2 {
        return (Some(Motion::Grow), Vec::new());
    }
    if turned(&seen) > 0.7 {
        return (Some(Motion::Spin), Vec::new());
    }
    (Some(Motion::Rest), Vec::new())
}

/// When a subject that moves `along` a line reaches the place where it stays: where the line through the frames on
/// its way meets the place of the last ones.
fn arrival(seen: &[(f64, &Blob)], along: fn(&Blob) -> f64) -> Option<f64> {
    /// Frames that show where it stays.
    const STAYS: usize = 9;
    let first = along(seen[0].1);
    let mut last: Vec<f64> = seen
        .iter()
        .rev()
        .take(STAYS)
        .map(|(_, b)| along(b))
        .collect();
    last.sort_by(f64::total_cmp);
    let end = last[last.len() / 2];
    let done = |b: &Blob| (along(b) - first) / (end - first);
    let is_on_its_way = |(_, b): &&(f64, &Blob)| done(b) < 0.9;
    let way: Vec<(f64, f64)> = seen
        .iter()
        .take_while(is_on_its_way)
        .map(|(time, b)| (*time, done(b)))
        .collect();
    let count = way.len() as f64;
    let sum = |of: fn(&(f64, f64)) -> f64| way.iter().map(of).sum::<f64>();
    let (times, parts) = (sum(|p| p.0), sum(|p| p.1));
    let spread = count * sum(|p| p.0 * p.0) - times * times;
    let per_second = (count * sum(|p| p.0 * p.1) - times * parts) / spread;
    let arrives = (1.0 - (parts - per_second * times) / count) / per_second;
    (way.len() > 2 && per_second > 0.0).then_some(arrives)
}

/// Times at which the subject is lowest between a way down and a way up: the middles about which the frames before and
/// behind are most alike.
fn turns(seen: &[(f64, &Blob)]) -> Vec<f64> {
    /// Frames on either side that it falls and rises in.
    const SIDE: usize = 9;
    /// Frames on either side that are compared.
    const ALIKE: usize = 4;
    let y: Vec<f64> = seen.iter().map(|(_, b)| b.y).collect();
    let bottom = y.iter().copied().fold(f64::MIN, f64::max);
    let top = y.iter().copied().fold(f64::MAX, f64::min);
    let high = |part: &[f64]| part.iter().copied().fold(f64::MAX, f64::min);
    // Between frames along a line.
    let at = |place: f64| -> f64 {
        let place = place.clamp(0.0, (y.len() - 1) as f64);
        let (before, part) = (place.floor() as usize, place.fract());
        let behind = (before + 1).min(y.len() - 1);
        y[before] + part * (y[behind] - y[before])
    };
    let mut times: Vec<f64> = Vec::new();
    for i in 1..y.len() - 1 {
        let deep = y[i] - 0.3 * (bottom - top);
        let is_low = y[i] >= y[i - 1]
            && y[i] > y[i + 1]
            && y[i] > bottom - 0.35 * (bottom - top)
            && high(&y[i.saturating_sub(SIDE)..i]) < deep
            && high(&y[i + 1..(i + 1 + SIDE).min(y.len())]) < deep;
        if is_low && times.last().is_none_or(|last| seen[i].0 - last > 0.2) {
            let unlike = |middle: f64| -> f64 {
                let pairs = (1..=ALIKE).map(|d| at(middle - d as f64) - at(middle + d as f64));
                pairs.map(|off| off * off).sum()
            };
            let middles = (-16..=16).map(|part| i as f64 + f64::from(part) / 16.0);
            let middle = middles.min_by(|&a, &b| unlike(a).total_cmp(&unlike(b)));
            let middle = middle.unwrap_or(i as f64);
            // All frames show the subject, or this would be a blink: they are evenly spaced.
            times.push(seen[0].0 + middle / FPS);
        }
    }
    times
}

/// How far the corners of the outline turn in all, radians, the smaller of both halves counted double.
fn turned(seen: &[(f64, &Blob)]) -> f64 {
    let strongest = |n: usize| {
        seen.iter()
            .map(|(_, b)| harmonic(&b.outline, n).0)
            .sum::<f64>()
    };
    let n = [3, 4, 5]
        .into_iter()
        .max_by(|&a, &b| strongest(a).total_cmp(&strongest(b)))
        .unwrap_or(3);
    let step = std::f64::consts::TAU / n as f64;
    let phases: Vec<f64> = seen
        .iter()
        .map(|(_, b)| harmonic(&b.outline, n).1)
        .collect();
    let way = |phases: &[f64]| -> f64 {
        let moves = phases
            .windows(2)
            .map(|pair| (pair[1] - pair[0] + step / 2.0).rem_euclid(step) - step / 2.0);
        moves.sum::<f64>().abs()
    };
    let half = phases.len() / 2;
    2.0 * way(&phases[..half]).min(way(&phases[half..]))
}

/// Pitch of the loudest part, and the onsets.
fn hear(sound: &[f32]) -> (Option<f64>, Vec<f64>) {
    /// 5 ms.
    const HOP: usize = 256;
    let sound: Vec<f64> = sound.iter().map(|&value| f64::from(value)).collect();
    let energy: Vec<f64> = sound
        .chunks_exact(HOP)
        .map(|hop| (hop.iter().map(|v| v * v).sum::<f64>() / HOP as f64).sqrt())
        .collect();
    let loudest = energy.iter().copied().fold(0.0, f64::max);
    if loudest < 0.005 {
        return (None, Vec::new());
    }
    let mut onsets = Vec::new();
    for i in 0..energy.len() {
        let before = energy[i.saturating_sub(6)..i]
            .iter()
            .copied()
            .fold(0.0, f64::max);
        let now = energy[i..(i + 3).min(energy.len())]
            .iter()
            .copied()
            .fold(0.0, f64::max);
        let time = i as f64 * HOP as f64 / RATE;
        let rises = now > 0.25 * loudest && now > 2.0 * before && energy[i] > 1.3 * before;
        if rises && onsets.last().is_none_or(|last| time - last > 0.12) {
            onsets.push(time);
        }
    }
    let peak = (0..energy.len())
        .max_by(|&a, &b| energy[a].total_cmp(&energy[b]))
        .unwrap_or(0);
    let start = (peak * HOP).min(sound.len().saturating_sub(WINDOW));
    (
        period(&sound[start..(start + WINDOW).min(sound.len())]).map(|p| RATE / p),
        onsets,
    )
}

/// 60 ms.
const WINDOW: usize = 3072;

/// The shortest lag, in samples, at which a sound repeats itself almost as well as at any: 100 to 3000 hertz.
fn period(sound: &[f64]) -> Option<f64> {
    let (shortest, longest) = (17, 512);
    let half = sound.len().checked_sub(longest)?;
    let correlation = |lag: usize| -> f64 {
        let (mut product, mut a, mut b) = (0.0, 0.0, 0.0);
        for i in 0..half {
            let (x, y) = (sound[i], sound[i + lag]);
            product += x * y;
            a += x * x;
            b += y * y;
        }
        product / (a * b).sqrt().max(1e-12)
    };
    let all: Vec<f64> = (shortest - 1..=longest).map(correlation).collect();
    let best = all.iter().copied().fold(f64::MIN, f64::max);
    if best < 0.5 {
        return None;
    }
    let at = (1..all.len() - 1)
        .find(|&i| all[i] > 0.93 * best && all[i] >= all[i - 1] && all[i] >= all[i + 1])?;
    // The top of the parabola through three points.
    let (before, here, behind) = (all[at - 1], all[at], all[at + 1]);
    let bend = before - 2.0 * here + behind;
    let off = if bend.abs() > 1e-12 {
        0.5 * (before - behind) / bend
    } else {
        0.0
    };
    Some((at + shortest - 1) as f64 + off)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        picture::frame,
        random::Random,
        scene::{Attributes, Scene},
        sound,
    };

    const FRAMES: usize = 49;
    const SECONDS: f64 = FRAMES as f64 / FPS;

    fn clip(index: u64, side: usize) -> (Scene, Vec<u8>, Vec<f32>) {
        let mut random = Random::new(9, index);
        let scene = Scene::new(Attributes::random(&mut random), SECONDS, &mut random);
        let mut frames = Vec::new();
        (0..FRAMES).for_each(|index| frame(&scene, index, side, &mut frames));
        let samples = sound::samples(&scene, 2048 * (FRAMES + 2));
        (scene, frames, sound::mono(&samples))
    }

    #[test]
    fn drawn_clips_are_read_as_what_they_are() {
        for (index, side) in (0..150).zip([64, 96, 128].into_iter().cycle()) {
            let (scene, frames, samples) = clip(index, side);
            let (seen, truth) = (read(&frames, side, &samples), scene.attributes);
            assert_eq!(
                (seen.colour, seen.shape, seen.motion),
                (Some(truth.colour), Some(truth.shape), Some(truth.motion)),
                "{scene:?}"
            );
            assert_eq!(
                seen.pitch.is_none(),
                truth.motion == Motion::Rest,
                "{scene:?}"
            );
            if let Some((shape, size, off)) = seen.nearest_note() {
                assert_eq!((shape, size), (truth.shape, truth.size), "{scene:?}");
                assert!(off < 0.5, "{off} semitones: {scene:?}");
            }
            let has_contacts = !scene.contacts().is_empty();
            assert_eq!(has_contacts, !seen.contacts.is_empty(), "{scene:?}");
            assert!(
                !has_contacts || seen.is_in_time(SECONDS),
                "{scene:?} {seen:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_not_read_as_right() {
        let mut bounces = (0..).map(|index| clip(index, 96));
        let (scene, mut frames, samples) = bounces
            .find(|(s, ..)| s.attributes.motion == Motion::Bounce)
            .unwrap();
        // The sound a fifth of a second late.
        let mut late = vec![0.0; sound::RATE as usize / 5];
        late.extend(&samples[..samples.len() - late.len()]);
        assert!(!read(&frames, 96, &late).is_in_time(SECONDS));
        let backwards: Vec<u8> = frames
            .chunks(96 * 96 * 3)
            .rev()
            .flatten()
            .copied()
            .collect();
        assert!(!read(&backwards, 96, &samples).is_in_time(SECONDS));
        // Colours exchanged.
        frames
            .chunks_exact_mut(3)
            .for_each(|pixel| pixel.rotate_left(1));
        let colour = read(&frames, 96, &samples).colour;
        let is_white = scene.attributes.colour == Colour::White;
        assert_eq!(colour == Some(scene.attributes.colour), is_white);
        // Nothing to see.
        frames.fill(24);
        let nothing = read(&frames, 96, &vec![0.0; samples.len()]);
        assert_eq!(
            (nothing.colour, nothing.shape, nothing.motion, nothing.pitch),
            (None, None, None, None)
        );
    }
}
