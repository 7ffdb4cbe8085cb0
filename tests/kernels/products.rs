//! wgmma: where operands lie in shared memory and in registers, for every layout that descriptors can name.

use gallop::{DType, Tensor};

use crate::{
    SEEDS,
    emulate::{Arg, Emulator, Launch, MapType, Memory, Run, Swizzle, TensorMap, each_run, runs},
    random::Random,
};

const ROWS: usize = 64;
/// Bytes of K that one product takes.
const STEP: usize = 32;

/// One operand: 64 rows by k.
#[derive(Clone, Copy)]
struct Operand {
    /// Bytes of an element.
    size: usize,
    /// Whether rows, not k, lie along memory.
    transposed: bool,
    /// Bytes that the swizzle permutes; 16 without.
    span: usize,
    k: usize,
}

impl Operand {
    const fn new(size: usize, transposed: bool, span: usize, k: usize) -> Self {
        Self {
            size,
            transposed,
            span,
            k,
        }
    }

    fn swizzles(self) -> (Swizzle, i32) {
        match self.span {
            16 => (Swizzle::None, 0),
            32 => (Swizzle::B32, 3),
            64 => (Swizzle::B64, 2),
            _ => (Swizzle::B128, 1),
        }
    }

    /// The extents in memory, innermost first.
    fn extents(self) -> [usize; 2] {
        if self.transposed {
            [ROWS, self.k]
        } else {
            [self.k, ROWS]
        }
    }

    /// `Layout` of `instructions.cu`.
    fn layout(self) -> [i32; 7] {
        let [inner, outer] = self.extents();
        let box_bytes = outer * self.span;
        let (leading, stride, step) = match (self.transposed, self.span) {
            // A box holds one span of rows and all of k.
            (true, span) => (box_bytes, 8 * span, STEP / 2 * span),
            (false, 16) => (box_bytes, 8 * 16, 2 * box_bytes),
            // Leading does not count: k stays within one span.
            (false, span) => (16, 8 * span, STEP),
        };
        let box_cols = self.span / self.size;
        [
            inner / box_cols,
            box_cols,
            box_bytes,
            leading,
            stride,
            self.swizzles().1 as usize,
            step,
        ]
        .map(|v| v as i32)
    }

    /// Bytes of the matrix `values` [64][k] as they lie in global memory.
    fn bytes(self, values: &[f32]) -> Vec<u8> {
        let [inner, outer] = self.extents();
        let mut ordered = Vec::new();
        for i in 0..outer * inner {
            let (row, k) = if self.transposed {
                (i % inner, i / inner)
            } else {
                (i / inner, i % inner)
            };
            ordered.push(values[row * self.k + k]);
        }
        if self.size == 2 {
            Tensor::from_f32([ordered.len()], &ordered)
                .cast(DType::Bf16)
                .bytes()
                .to_vec()
        } else {
            ordered.iter().map(|&v| e4m3_of(v)).collect()
        }
    }

    fn map(self, memory: &Memory) -> Result<TensorMap, String> {
        let [inner, outer] = self.extents();
        let kind = if self.size == 2 {
            MapType::Bf16
        } else {
            MapType::U8
        };
        let sides = [(self.span / self.size) as u32, outer as u32];
        let strides = [(inner * self.size) as u64];
        let dims = [inner as u64, outer as u64];
        Emulator::load().tensor_map(
            (kind, memory.address()),
            &dims,
            &strides,
            &sides,
            self.swizzles().0,
        )
    }
}

/// e4m3 of the numbers used here: whole ones between -4 and 4, and 2^-6.
fn e4m3_of(v: f32) -> u8 {
    if v == 1.0 / 64.0 {
        return 0x08;
    }
    let size = [0x00, 0x38, 0x40, 0x44, 0x48][v.abs() as usize];
    if v < 0.0 { size | 0x80 } else { size }
}

fn matrix(seed: u64, k: usize) -> Vec<f32> {
    let values = Random::new(seed).values(ROWS * k);
    values.iter().map(|v| (v * 4.0).round()).collect()
}

/// a bᵀ.
fn multiplied(a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let dot = |row: &[f32], col: &[f32]| row.iter().zip(col).map(|(a, b)| a * b).sum();
    a.chunks(k)
        .flat_map(|row| b.chunks(k).map(move |col| dot(row, col)))
        .collect()
}

/// Runs product_`name` on matrices a and b.
fn product(
    emulator: &Emulator,
    name: &str,
    operands: [Operand; 2],
    [a, b]: [&[f32]; 2],
    (run, truncate): (Run, bool),
) -> Result<Vec<f32>, String> {
    let [in_a, in_b] = operands;
    let steps = in_b.k * in_b.size / STEP;
    let (a_bytes, b_bytes) = (in_a.bytes(a), in_b.bytes(b));
    let (a, b) = (Memory::of_bytes(&a_bytes), Memory::of_bytes(&b_bytes));
    let layouts = Memory::of_ints(&[in_a.layout(), in_b.layout()].concat());
    let y = Memory::poisoned(ROWS * ROWS * 4);
    let mut args = vec![Arg::Pointer(y.address())];
    if name.contains("_r") {
        args.push(Arg::Pointer(a.address()));
    }
    args.extend([Arg::Map(in_a.map(&a)?), Arg::Map(in_b.map(&b)?)]);
    args.extend([Arg::Pointer(layouts.address()), Arg::int(steps)]);
    let launch = Launch {
        smem: 65_536,
        truncate,
        ..Launch::new(1, 128)
    };
    emulator.launch(&format!("product_{name}"), &launch, run, &args)?;
    y.floats()
}

/// Whether product_`name` of two matrices of whole numbers is exact.
fn check_run(
    emulator: &Emulator,
    name: &str,
    [a, b]: [Operand; 2],
    run: Run,
) -> Result<(), String> {
    let (a_values, b_values) = (matrix(1, a.k), matrix(2, b.k));
    let want = multiplied(&a_values, &b_values, a.k);
    let got = product(emulator, name, [a, b], [&a_values, &b_values], (run, false))?;
    match got.iter().zip(&want).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{name}: wrong numbers: row {}, column {} is {}, expected {}",
            at / ROWS,
            at % ROWS,
            got[at],
            want[at]
        )),
    }
}

#[track_caller]
fn check(name: &str, a: Operand, b: Operand) {
    each_run(SEEDS, |run| check_run(Emulator::load(), name, [a, b], run));
}

/// The commonest product.
pub(crate) fn check_plain(emulator: &Emulator, run: Run) -> Result<(), String> {
    check_run(
        emulator,
        "bf16_nn",
        [Operand::new(2, false, 128, 64); 2],
        run,
    )
}

#[test]
fn k_major_operands_are_read_through_every_swizzle() {
    for span in [16, 32, 64, 128] {
        // k within one span; without swizzle two boxes of 16 bytes.
        let k = span.max(32) / 2;
        check(
            "bf16_nn",
            Operand::new(2, false, span, k),
            Operand::new(2, false, span, k),
        );
    }
    check(
        "e4m3_nn",
        Operand::new(1, false, 128, 128),
        Operand::new(1, false, 128, 128),
    );
}

#[test]
fn mn_major_operands_are_read_through_every_swizzle() {
    for span in [32, 64, 128] {
        check(
            "bf16_nt",
            Operand::new(2, false, 128, 64),
            Operand::new(2, true, span, 64),
        );
        check(
            "bf16_tt",
            Operand::new(2, true, span, 64),
            Operand::new(2, true, 128, 64),
        );
    }
}

#[test]
fn the_left_operand_may_come_from_registers() {
    let a = Operand::new(2, false, 128, 64);
    check("bf16_rn", a, Operand::new(2, false, 128, 64));
    check("bf16_rt", a, Operand::new(2, true, 128, 64));
    let a = Operand::new(1, false, 128, 128);
    check("e4m3_rn", a, Operand::new(1, false, 128, 128));
}

/// One product of 16 beside 127 of 2^-12: f32 keeps them all; with 13 bits below the largest none of them counts.
#[test]
fn sums_of_8_bit_products_can_be_truncated() {
    const SMALL: f32 = 1.0 / 64.0;
    let operand = Operand::new(1, false, 128, 128);
    let mut a = vec![SMALL; ROWS * 128];
    a.iter_mut().step_by(128).for_each(|v| *v = 4.0);
    let run = runs(1)[0];
    for (truncate, want) in [(false, 16.0 + 127.0 * SMALL * SMALL), (true, 16.0)] {
        let got = product(
            Emulator::load(),
            "e4m3_nn",
            [operand; 2],
            [&a, &a],
            (run, truncate),
        )
        .unwrap();
        assert!(
            got.iter().all(|&v| v == want),
            "{truncate}: {} is not {want}",
            got[0]
        );
    }
}
