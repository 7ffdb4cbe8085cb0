//! Standard normal numbers from a seed: the same bits on every machine and for any number of threads.
//!
//! Each draw of a clip has a name. Number i of a draw depends only on the seed, the name and i. In unsigned 64-bit
//! arithmetic:
//!
//! ```text
//! fnv1a64(bytes):  h = 0xcbf29ce484222325;  for each byte b:  h = (h XOR b) * 0x100000001b3
//! mix(z):          z = (z XOR (z >> 30)) * 0xBF58476D1CE4E5B9
//!                  z = (z XOR (z >> 27)) * 0x94D049BB133111EB
//!                  return z XOR (z >> 31)
//! key = fnv1a64(name) XOR mix(seed)
//! z_i = mix(key + (i + 1) * 0x9E3779B97F4A7C15)
//! ```
//!
//! The top bit of `z_i` is the sign (1 is negative). Its next 52 bits, as the integer j, are the tail probability
//! `p = (2j + 1) / 2^54`, between 0 and 1/2. The magnitude is `-quantile(p)` of the normal distribution, by
//! Wichura's rational approximations (algorithm AS 241, Applied Statistics 37, 1988), correct to about 1e-15,
//! rounded to f32.
//!
//! Only + - * / and square roots of f64 are used, which IEEE 754 defines to the last bit. The logarithm is our own,
//! because those of system libraries differ in the last bit.
//!
//! Names of the draws, as in the goldens: [`INIT_AUDIO`], [`INIT_VIDEO`], then for methods that draw noise
//! [`step_video`] and [`step_audio`] for each step, then [`SR_VIDEO`] and [`SR_AUDIO`].

use rayon::prelude::*;

/// Name of the draw `[audio_tokens, 64]`: the initial audio latent of the base pass.
pub const INIT_AUDIO: &str = "init_audio";
/// Name of the draw `[48, frames, height, width]`: the initial video latent of the base pass.
pub const INIT_VIDEO: &str = "init_video";
/// Name of the draw `[48, frames, height, width]` that is added to the upsampled video.
pub const SR_VIDEO: &str = "sr_video";
/// Name of the draw `[audio_tokens, 64]` that is mixed into the audio of the super-resolution pass.
pub const SR_AUDIO: &str = "sr_audio";

/// Name of the video draw of `step` of the base pass, `[48, frames, height, width]`.
pub fn step_video(step: usize) -> String {
    format!("step{step}.video")
}

/// Name of the audio draw of `step` of the base pass, `[audio_tokens, 64]`.
pub fn step_audio(step: usize) -> String {
    format!("step{step}.audio")
}

/// The first `count` standard normal numbers of the draw `draw`, in the row-major order of its shape.
pub fn normal(seed: u64, draw: &str, count: usize) -> Vec<f32> {
    let mut numbers = vec![0.0; count];
    Noise::new(seed, draw).fill(0, &mut numbers);
    numbers
}

/// One draw: an endless sequence of standard normal numbers with random access.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    key: u64,
}

impl Noise {
    /// The draw named `draw` for this seed.
    pub fn new(seed: u64, draw: &str) -> Self {
        let key = fnv1a64(draw.as_bytes()) ^ mix(seed);
        Self { key }
    }

    /// Number `index` of the draw.
    pub fn at(&self, index: u64) -> f32 {
        let place = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = mix(self.key.wrapping_add(place));
        let j = (z >> 11) & ((1 << 52) - 1);
        let magnitude = magnitude((2 * j + 1) as f64 / (1_u64 << 54) as f64) as f32;
        if z >> 63 == 1 { -magnitude } else { magnitude }
    }

    /// Fills `numbers` with the numbers `first`, `first + 1`, ... of the draw.
    pub fn fill(&self, first: u64, numbers: &mut [f32]) {
        const BLOCK: usize = 4096;
        let blocks = numbers.par_chunks_mut(BLOCK).enumerate();
        blocks.for_each(|(block, numbers)| {
            let first = first.wrapping_add((block * BLOCK) as u64);
            for (index, number) in (0..).zip(numbers) {
                *number = self.at(first.wrapping_add(index));
            }
        });
    }
}

fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The x > 0 that a standard normal number exceeds with probability `p`, 0 < p < 1/2.
fn magnitude(p: f64) -> f64 {
    let centre = 0.5 - p;
    if centre <= 0.425 {
        let t = 0.180625 - centre * centre;
        return centre * ratio(&CENTRAL, t);
    }
    let t = (-ln(p)).sqrt();
    if t <= 5.0 {
        ratio(&TAIL, t - 1.6)
    } else {
        ratio(&FAR_TAIL, t - 5.0)
    }
}

/// Numerator and denominator of a rational function, constant terms first.
type Ratio = [[f64; 8]; 2];

const CENTRAL: Ratio = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];

const TAIL: Ratio = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        0.000_774_545_014_278_341_4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        0.000_547_593_808_499_534_5,
        1.050_750_071_644_416_9e-9,
    ],
];

const FAR_TAIL: Ratio = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        0.000_786_869_131_145_613_3,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_7e-15,
    ],
];

fn ratio([numerator, denominator]: &Ratio, t: f64) -> f64 {
    let value = |factors: &[f64; 8]| factors.iter().rev().fold(0.0, |sum, f| sum * t + f);
    value(numerator) / value(denominator)
}

/// Natural logarithm of a positive normal number, to about one unit in the last place.
///
/// x = f 2^k with f between sqrt(1/2) and sqrt(2); with s = (f - 1) / (f + 1), at most 0.172, the series
/// ln f = 2 (s + s³/3 + s⁵/5 + ...) is below 1e-18 after twelve terms.
fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut k = (bits >> 52) as i32 - 1023;
    let mut f = f64::from_bits((bits & FRACTION) | 1.0_f64.to_bits());
    if f > std::f64::consts::SQRT_2 {
        f *= 0.5;
        k += 1;
    }
    let s = (f - 1.0) / (f + 1.0);
    let s2 = s * s;
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, i| sum * s2 + 1.0 / f64::from(2 * i + 1));
    f64::from(k) * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_have_their_published_values() {
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn our_logarithm_is_a_logarithm() {
        for i in 1..2000 {
            for x in [
                f64::from(i) / 1000.0,
                0.5_f64.powi(i % 60) * 1.37,
                2f64.powi(-54),
            ] {
                let error = (ln(x) - x.ln()).abs();
                assert!(error <= 4e-16 * x.ln().abs().max(1.0), "ln({x}): {error}");
            }
        }
    }

    /// Probability beyond x > 0, without any quantile formula: the series of the distribution function near 0,
    /// the continued fraction further out.
    fn tail(x: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if x < 3.0 {
            let (mut term, mut sum, mut n) = (x, x, 1.0);
            while term > 1e-18 {
                n += 2.0;
                term *= x * x / n;
                sum += term;
            }
            0.5 - density * sum
        } else {
            density / (1..200).rev().fold(x, |d, k| x + f64::from(k) / d)
        }
    }

    #[test]
    fn magnitudes_invert_the_normal_distribution() {
        assert!((tail(1.0) - 0.158_655_253_931_457_05).abs() < 1e-15);
        assert!((tail(6.0) / 9.865_876_450_376_98e-10 - 1.0).abs() < 1e-12);
        let mut ps: Vec<f64> = (1..5000).map(|i| f64::from(i) / 10_000.0).collect();
        ps.extend((2..=54).map(|k| 0.5_f64.powi(k)));
        for p in ps {
            let x = magnitude(p);
            // One Newton step measures the distance to the exact quantile.
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let error = (tail(x) - p) / density;
            assert!(error.abs() < 1e-12, "p = {p}: {x} is off by {error}");
        }
    }
}
