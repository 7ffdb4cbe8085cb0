//! Accumulator precision of FP8 wgmma. Tensor cores are reported to align the terms to the largest one and to drop bits
//! about 14 below it; f32 would keep 23. A figure, not a check: no document promises one.

use serde::Serialize;

use crate::{
    Result,
    cuda::{
        Device,
        conformance::{WgmmaOperands, gemm},
    },
};

const N: usize = 8;
const K: usize = 128;
/// K of one instruction.
const STEP: usize = 32;
const ROWS: usize = 64;
/// The large term is 2^6, and the small ones are this many powers of two below.
const LARGE: i32 = 6;
const MOST: i32 = 23;

/// Placement of a large and a small term, and the smallest term whose sum is exact.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Kept {
    /// Where the terms are along K.
    pub place: &'static str,
    /// Whether the small term is subtracted.
    pub negative: bool,
    /// Sums are exact for ratios up to 2 to this power; f32 would reach 23.
    pub bits: i32,
}

/// Positions of the large and the small term along K.
const PLACES: [(&str, usize, usize); 3] = [
    ("one product", 0, 1),
    ("small in the next product", 0, STEP),
    ("small in the product before", STEP, 0),
];

/// The figures of a device.
///
/// # Errors
/// Those of [`crate::cuda::conformance`].
pub fn kept_bits(device: &dyn Device) -> Result<Vec<Kept>> {
    let mut figures = Vec::new();
    for (place, large_at, small_at) in PLACES {
        for negative in [false, true] {
            let sums = sums(device, large_at, small_at, negative)?;
            let exact = |ratio: i32| {
                let small = 2.0_f32.powi(LARGE - ratio);
                let sign = if negative { -1.0 } else { 1.0 };
                sums[ratio as usize] == 2.0_f32.powi(LARGE) + sign * small
            };
            let first_lost = (1..=MOST).find(|&ratio| !exact(ratio));
            figures.push(Kept {
                place,
                negative,
                bits: first_lost.map_or(MOST, |ratio| ratio - 1),
            });
        }
    }
    Ok(figures)
}

/// Operands whose row r adds to 2^6 a term r powers of two below, which a factor of 2^-9 in B extends beyond the range of A.
fn sums(device: &dyn Device, large_at: usize, small_at: usize, negative: bool) -> Result<Vec<f32>> {
    const TINY: i32 = -9;
    let (mut a, mut b) = (vec![0; ROWS * K], vec![0; N * K]);
    let is_tiny = |ratio: i32| LARGE - ratio < TINY;
    for ratio in 0..=MOST {
        let row = &mut a[ratio as usize * K..][..K];
        row[large_at] = power_of_two(LARGE);
        let exponent = LARGE - ratio - if is_tiny(ratio) { TINY } else { 0 };
        row[small_at] = power_of_two(exponent) | if negative { 0x80 } else { 0 };
    }
    for (col, small) in [TINY, 0].into_iter().enumerate() {
        b[col * K + large_at] = power_of_two(0);
        b[col * K + small_at] = power_of_two(small);
    }
    let what = WgmmaOperands::E4m3 { registers: false };
    let y = gemm(device, what, N, [&a, &b], [128; 2])?;
    let sum = |ratio: i32| y[ratio as usize * N + usize::from(!is_tiny(ratio))];
    Ok((0..=MOST).map(sum).collect())
}

/// The e4m3 byte of 2^exponent, from -9 to 8.
fn power_of_two(exponent: i32) -> u8 {
    if exponent >= -6 {
        ((exponent + 7) << 3) as u8
    } else {
        1 << (exponent + 9)
    }
}
