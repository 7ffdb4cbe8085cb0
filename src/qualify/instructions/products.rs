//! wgmma: every instruction of `wgmma_gen.cuh`, with operands in registers and in every shared memory layout that
//! descriptors can name.

use half::bf16;

use super::case::{InstructionCase, equal};
use crate::cuda::conformance::{WgmmaOperands, gemm};

const ROWS: usize = 64;
/// Values of n that have instructions.
const EVERY_N: [usize; 9] = [8, 16, 32, 64, 96, 112, 128, 192, 256];
/// Those that fill whole spans of every swizzle.
const WHOLE_SPANS: [usize; 3] = [64, 128, 256];

/// A bf16 wgmma with A from shared memory or registers, by the operands that are transposed.
fn of_bf16(registers: bool, a_transposed: bool, b_transposed: bool) -> WgmmaOperands {
    WgmmaOperands::Bf16 {
        registers,
        a_transposed,
        b_transposed,
    }
}

/// Operand kinds, n, and the swizzle spans of the operands.
fn shapes() -> Vec<(WgmmaOperands, usize, [usize; 2])> {
    let mut shapes = Vec::new();
    for span in [16, 32, 64] {
        shapes.push((of_bf16(false, false, false), 64, [span; 2]));
    }
    for span in [32, 64] {
        shapes.push((of_bf16(false, false, true), 64, [128, span]));
        shapes.push((of_bf16(false, true, false), 64, [span, 128]));
        shapes.push((of_bf16(true, false, true), 64, [128, span]));
    }
    for n in EVERY_N {
        shapes.push((of_bf16(false, false, false), n, [128; 2]));
        shapes.push((of_bf16(true, false, false), n, [128; 2]));
        shapes.push((WgmmaOperands::E4m3 { registers: false }, n, [128; 2]));
        shapes.push((WgmmaOperands::E4m3 { registers: true }, n, [128; 2]));
    }
    for n in WHOLE_SPANS {
        for (a, b) in [(false, true), (true, false), (true, true)] {
            shapes.push((of_bf16(false, a, b), n, [128; 2]));
        }
        shapes.push((of_bf16(true, false, true), n, [128; 2]));
    }
    shapes
}

pub(super) fn cases() -> Vec<InstructionCase> {
    let case = |(what, n, spans): (WgmmaOperands, usize, [usize; 2])| {
        let k = what.k();
        let (a, b) = (matrix(1, ROWS, k), matrix(2, n, k));
        let want = multiplied(&a, &b, k);
        let [a_transposed, b_transposed] = what.transposed();
        let a = laid_out(what, &a, k, a_transposed);
        let b = laid_out(what, &b, k, b_transposed);
        let name = format!("wgmma/{what} 64x{n}x{k} by swizzles {spans:?}");
        InstructionCase::new(name, move |device| {
            let got = gemm(device, what, n, [&a, &b], spans)?;
            equal("numbers", &got, &want)
        })
    };
    shapes().into_iter().map(case).collect()
}

/// Whole numbers from -4 to 4, so that every sum is exact.
fn matrix(seed: usize, rows: usize, k: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 2_654_435_761 + seed * 40_503) >> 7) % 9;
    (0..rows * k).map(|i| number(i) as f32 - 4.0).collect()
}

/// a bᵀ.
fn multiplied(a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let dot = |row: &[f32], col: &[f32]| row.iter().zip(col).map(|(a, b)| a * b).sum();
    a.chunks(k)
        .flat_map(|row| b.chunks(k).map(move |col| dot(row, col)))
        .collect()
}

/// The bytes of a matrix `[rows, k]` in the instruction's layout.
fn laid_out(what: WgmmaOperands, values: &[f32], k: usize, transposed: bool) -> Vec<u8> {
    let rows = values.len() / k;
    let ordered: Vec<f32> = if transposed {
        (0..k)
            .flat_map(|col| (0..rows).map(move |row| values[row * k + col]))
            .collect()
    } else {
        values.to_vec()
    };
    match what {
        WgmmaOperands::Bf16 { .. } => {
            let bf16 = ordered.iter().map(|&v| bf16::from_f32(v).to_bits());
            bf16.flat_map(u16::to_le_bytes).collect()
        }
        WgmmaOperands::E4m3 { .. } => ordered.iter().map(|&v| e4m3_of(v)).collect(),
    }
}

/// e4m3 of whole numbers from -4 to 4.
fn e4m3_of(v: f32) -> u8 {
    let size = [0x00, 0x38, 0x40, 0x44, 0x48][v.abs() as usize];
    if v < 0.0 { size | 0x80 } else { size }
}
