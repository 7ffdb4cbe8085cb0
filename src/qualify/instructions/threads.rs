//! Instructions of several threads: shuffles, matrix exchange, barriers, register reallocation.

use half::bf16;

use super::case::{InstructionCase, equal};
use crate::{
    Result,
    cuda::{Device, conformance},
};

pub(super) fn cases() -> Vec<InstructionCase> {
    vec![
        InstructionCase::new("warps/lanes exchange numbers and votes", lanes),
        InstructionCase::new("warps/matrices with and without transpose", transposes),
        InstructionCase::new("barriers/named barriers order warps", |device| {
            equal(
                "numbers",
                &conformance::chain(device)?,
                &[128, 10, 11, 12, 13],
            )
        }),
        InstructionCase::new("barriers/mbarriers order phases", phases),
        InstructionCase::new("registers/warpgroups hand registers over", registers),
    ]
}

fn lanes(device: &dyn Device) -> Result<()> {
    let x: [i32; 32] = std::array::from_fn(|i| i as i32 * 3 - 40);
    let get = |lane: i32| x[lane as usize];
    let positive = (0..32)
        .filter(|&lane| get(lane) > 0)
        .fold(0_u32, |bits, lane| bits | 1 << lane);
    let rows: [&dyn Fn(i32) -> i32; 8] = [
        &|lane| get(31 - lane),
        &|lane| get(lane ^ 5),
        &|lane| get(if lane + 3 < 32 { lane + 3 } else { lane }),
        &|lane| get(if lane % 8 >= 3 { lane - 3 } else { lane }),
        &|_| positive.cast_signed(),
        &|_| 1,
        &|_| 0,
        &|lane| get(if lane < 16 { lane ^ 1 } else { lane }),
    ];
    let want: Vec<i32> = rows.iter().flat_map(|row| (0..32).map(row)).collect();
    equal("numbers", &conformance::lanes(device, &x)?, &want)
}

/// Four 8x8 matrices as ldmatrix takes and stmatrix leaves them; a transpose is within each matrix.
fn transposes(device: &dyn Device) -> Result<()> {
    let values: [bf16; 256] = std::array::from_fn(|i| bf16::from_f32(i as f32));
    let mut want = Vec::new();
    for mode in 0..4 {
        for i in 0..256 {
            let (row, col) = (i / 16, i % 16);
            let once = row / 8 * 128 + col / 8 * 8 + col % 8 * 16 + row % 8;
            want.push(values[if mode == 1 || mode == 2 { once } else { i }]);
        }
    }
    equal(
        "elements",
        &conformance::transposes(device, &values)?,
        &want,
    )
}

fn phases(device: &dyn Device) -> Result<()> {
    const ROUNDS: i32 = 7;
    let want: Vec<i32> = (0..ROUNDS)
        .flat_map(|round| (0..32).map(move |lane| round * 100 + 31 - lane))
        .collect();
    equal(
        "numbers",
        &conformance::phases(device, ROUNDS as usize)?,
        &want,
    )
}

fn registers(device: &dyn Device) -> Result<()> {
    let want: Vec<i32> = (0..384)
        .map(|t| if t < 128 { t } else { 1000 + t })
        .collect();
    equal("numbers", &conformance::registers(device)?, &want)
}
