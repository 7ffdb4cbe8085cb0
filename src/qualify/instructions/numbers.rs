//! Conversions between number types, bit for bit, and approximate functions, within the errors that PTX documents.

use half::bf16;

use super::case::{InstructionCase, equal, wrong};
use crate::{
    Result,
    cuda::{Device, conformance},
};

pub(super) fn cases() -> Vec<InstructionCase> {
    vec![
        InstructionCase::new("numbers/rounding to bf16 and e4m3", conversions),
        InstructionCase::new("numbers/approximate functions", functions),
    ]
}

/// The value of an e4m3 byte, from the definition of the format.
fn from_e4m3(byte: u8) -> f32 {
    let (sign, exponent, fraction) = (byte >> 7, i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match exponent {
        15 if byte & 7 == 7 => f32::NAN,
        0 => fraction / 8.0 * 2.0_f32.powi(-6),
        _ => (1.0 + fraction / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if sign == 1 { -size } else { size }
}

/// The byte of the positive e4m3 value nearest to `v`, the even one of two; 448 for more.
fn nearest_e4m3(v: f32) -> u8 {
    // `min_by` takes the first of equals, so the even one comes first.
    let mut bytes: Vec<u8> = (0..127).collect();
    bytes.sort_by_key(|byte| byte & 1);
    let distance = |byte: u8| (f64::from(from_e4m3(byte)) - f64::from(v).min(448.0)).abs();
    let nearest = bytes
        .into_iter()
        .min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    nearest.expect("there are bytes")
}

/// Every positive e4m3 value, the middles between neighbours, both sides of each middle, extremes, and a few of
/// everything else.
fn interesting() -> Vec<f32> {
    let grid: Vec<f32> = (0..127).map(from_e4m3).collect();
    let mut x = grid.clone();
    for pair in grid.windows(2) {
        let middle = f32::midpoint(pair[0], pair[1]);
        x.extend([middle, middle.next_down(), middle.next_up()]);
    }
    x.extend([
        448.0,
        460.0,
        1e30,
        f32::INFINITY,
        1.003_906_3,
        1.011_718_8,
        f32::MIN_POSITIVE,
    ]);
    x.extend((0..200_u16).map(|i| (f32::from(i) * 0.731).sin()));
    x
}

fn conversions(device: &dyn Device) -> Result<()> {
    let x = interesting();
    let (mut pairs, mut back) = (vec![0; 2 * x.len()], vec![0.0; 2 * x.len()]);
    for (i, &v) in x.iter().enumerate() {
        let byte = u32::from(nearest_e4m3(v.abs()));
        let (low, high) = if v.is_sign_negative() {
            (byte | 0x80, byte)
        } else {
            (byte, byte | 0x80)
        };
        let half = bf16::from_f32(v);
        let both = u32::from(half.to_bits()) | u32::from((-half).to_bits()) << 16;
        pairs[i] = both.cast_signed();
        pairs[x.len() + i] = (low | high << 8).cast_signed();
        back[i] = half.to_f32();
        back[x.len() + i] = from_e4m3(low as u8);
    }
    let (got_pairs, got_back) = conformance::conversions(device, &x)?;
    equal("pairs", &got_pairs, &pairs)?;
    equal("numbers", &got_back, &back)
}

/// Error of each in units in the last place, as PTX documents it.
const ULPS: [(&str, f64); 3] = [
    ("fast_exp2", 2.0),
    ("fast_rsqrt", 2.0),
    ("fast_reciprocal", 1.0),
];

fn functions(device: &dyn Device) -> Result<()> {
    let x: Vec<f32> = (1..=2000_u16)
        .flat_map(|i| {
            let v = (f32::from(i) * 0.37).sin() * 2.0_f32.powi(i32::from(i % 14) - 6);
            [v, -v]
        })
        .collect();
    let got = conformance::functions(device, &x)?;
    for ((row, (name, allowed)), got) in ULPS.iter().enumerate().zip(got.chunks(x.len())) {
        for (&x, &got) in x.iter().zip(got) {
            let exact = match row {
                0 => f64::from(x).exp2(),
                1 => 1.0 / f64::from(x.abs()).sqrt(),
                _ => 1.0 / f64::from(x),
            };
            let ulp = f64::from((exact as f32).abs().next_up()) - f64::from((exact as f32).abs());
            // Subnormal results are zero.
            let exact = if exact.abs() < f64::from(f32::MIN_POSITIVE) {
                0.0
            } else {
                exact
            };
            let error = (f64::from(got) - exact).abs() / ulp;
            // The exact value lies between two numbers, up to half a unit from the nearer.
            if error.is_nan() || error > allowed + 0.5 {
                return Err(wrong(format!(
                    "wrong {name}: of {x} it is {got}, {error:.1} units from {exact}; allowed {allowed}"
                )));
            }
        }
    }
    Ok(())
}
