//! `kernels/gemm_bf16.cu`: tails in every dimension, groups of rows that end anywhere, a ring that wraps.

use gallop::{
    DType, Tensor,
    plan::{Buf, Builder, Dense, Plan},
};

use crate::{
    SEEDS,
    emulate::{Arg, Emulator, Launch, MapType, Memory, Run, Swizzle, TensorMap, each_run},
    judge::expected,
    random::Random,
    run::{Tensors, random_tensors, run},
};

const TILE: [usize; 2] = [128, 256];
const TILE_K: u32 = 64;
const THREADS: u32 = 384;
const SMEM_BYTES: u32 = 229_440;

/// A product of groups of rows.
pub(crate) struct Case {
    pub(crate) ends: &'static [usize],
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) out: DType,
    /// Blocks; fewer than tiles, so that each does several.
    pub(crate) grid: usize,
}

/// A case with its operands in memory.
pub(crate) struct Product<'a> {
    case: &'a Case,
    x: Memory,
    w: Memory,
    tiles: Memory,
    num_tiles: usize,
}

impl Case {
    fn m(&self) -> usize {
        self.ends[self.ends.len() - 1]
    }

    /// Elements from row to row of x and w: a multiple of 16 bytes.
    fn k_pitch(&self) -> usize {
        self.k.next_multiple_of(8)
    }

    fn plan(&self) -> (Plan, Buf) {
        let mut p = Builder::new();
        let x = p.input("x", [self.m(), self.k], DType::Bf16);
        let dense = Dense {
            rows: self.n,
            bias: false,
            weight: DType::Bf16,
            out: self.out,
        };
        let y = p.linear("l", x, self.ends, dense);
        p.output(y);
        (p.finish(), y)
    }

    /// Every tile: first row, end of its group, first column, weight row.
    fn tiles(&self) -> Vec<i32> {
        let mut tiles = Vec::new();
        let mut start = 0;
        for (group, &end) in self.ends.iter().enumerate() {
            for row in (start..end).step_by(TILE[0]) {
                for col in (0..self.n).step_by(TILE[1]) {
                    tiles.extend([row, end, col, group * self.n + col].map(|v| v as i32));
                }
            }
            start = end;
        }
        tiles
    }

    /// Small whole numbers as operands, so that sums are exact in any order, and the CPU executor's result.
    pub(crate) fn whole_numbers(&self) -> (Tensors, Tensor) {
        let (plan, y) = self.plan();
        let mut tensors = random_tensors(&plan, &mut Random::new(1));
        for tensor in tensors.values_mut() {
            let values: Vec<f32> = tensor.to_f32().iter().map(|v| (v * 4.0).round()).collect();
            *tensor = Tensor::from_f32(tensor.shape().clone(), &values).cast(DType::Bf16);
        }
        let want = run(&plan, &tensors, false).read(y).unwrap();
        (tensors, want)
    }

    /// The operands of `tensors` in memory.
    pub(crate) fn product(&self, tensors: &Tensors) -> Product<'_> {
        let tiles = self.tiles();
        Product {
            case: self,
            x: Memory::of(&padded(&tensors["x"], self.k_pitch())),
            w: Memory::of(&padded(&tensors["l.weight"], self.k_pitch())),
            num_tiles: tiles.len() / 4,
            tiles: Memory::of_ints(&tiles),
        }
    }
}

impl Product<'_> {
    /// y by `emulator`, [m, n].
    pub(crate) fn launch(&self, emulator: &Emulator, run: Run) -> Result<Tensor, String> {
        let case = self.case;
        let (m, n, y_pitch) = (case.m(), case.n, case.n.next_multiple_of(8));
        let y = Memory::poisoned(m * y_pitch * case.out.size());
        let x_map = self.map(emulator, &self.x, m, TILE[0])?;
        let w_map = self.map(emulator, &self.w, case.ends.len() * n, TILE[1])?;
        let sizes = [self.num_tiles, m, n, case.k, y_pitch].map(Arg::int);
        let mut args = vec![Arg::Pointer(y.address())];
        if case.out == DType::Bf16 {
            let (dims, strides) = ([n as u64, m as u64], [y_pitch as u64 * 2]);
            let to = (MapType::Bf16, y.address());
            args.push(Arg::Map(emulator.tensor_map(
                to,
                &dims,
                &strides,
                &[64, 64],
                Swizzle::B128,
            )?));
        }
        args.extend([
            Arg::Map(x_map),
            Arg::Map(w_map),
            Arg::Pointer(self.tiles.address()),
        ]);
        args.extend(sizes);
        let launch = Launch {
            smem: SMEM_BYTES,
            ..Launch::new(case.grid, THREADS)
        };
        let kernel = if case.out == DType::Bf16 {
            "gemm_bf16"
        } else {
            "gemm_bf16_f32"
        };
        emulator.launch(kernel, &launch, run, &args)?;
        let whole = y.tensor([m, y_pitch], case.out)?;
        let values = whole.to_f32();
        let rows = values
            .chunks_exact(y_pitch)
            .flat_map(|row| row[..n].to_vec());
        Ok(Tensor::from_f32([m, n], &rows.collect::<Vec<f32>>()))
    }

    /// Whether y has the bits of `want`.
    pub(crate) fn check_exactly(
        &self,
        emulator: &Emulator,
        run: Run,
        want: &Tensor,
    ) -> Result<(), String> {
        let got = self.launch(emulator, run)?;
        let (got, want) = (got.to_f32(), want.to_f32());
        match got.iter().zip(want.iter()).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(at) => Err(format!(
                "wrong numbers: row {}, column {} is {}, expected {}",
                at / self.case.n,
                at % self.case.n,
                got[at],
                want[at]
            )),
        }
    }

    fn map(
        &self,
        emulator: &Emulator,
        of: &Memory,
        rows: usize,
        side: usize,
    ) -> Result<TensorMap, String> {
        let dims = [self.case.k as u64, rows as u64];
        let strides = [self.case.k_pitch() as u64 * 2];
        let sides = [TILE_K, side as u32];
        emulator.tensor_map(
            (MapType::Bf16, of.address()),
            &dims,
            &strides,
            &sides,
            Swizzle::B128,
        )
    }
}

/// The same rows, `pitch` elements apart; what lies between must not count, so it is not a number.
fn padded(tensor: &Tensor, pitch: usize) -> Tensor {
    let cols = tensor.shape().cols();
    let mut values = Vec::new();
    for row in tensor.to_f32().chunks_exact(cols) {
        values.extend_from_slice(row);
        values.resize(values.len() + pitch - cols, f32::NAN);
    }
    Tensor::from_f32([tensor.shape().rows(), pitch], &values).cast(DType::Bf16)
}

#[track_caller]
fn check_exactly(case: &Case) {
    let (tensors, want) = case.whole_numbers();
    let product = case.product(&tensors);
    each_run(SEEDS, |run| {
        product.check_exactly(Emulator::load(), run, &want)
    });
}

/// Two row tiles and a row, two column tiles and an odd column, a ring gone round three times and a bit.
const TAILS: Case = Case {
    ends: &[257],
    n: 259,
    k: 830,
    out: DType::Bf16,
    grid: 2,
};

#[test]
fn gemm_is_exact_on_whole_numbers() {
    check_exactly(&TAILS);
    check_exactly(&Case {
        out: DType::F32,
        ..TAILS
    });
    check_exactly(&Case {
        ends: &[1],
        n: 1,
        k: 1,
        out: DType::Bf16,
        grid: 1,
    });
    check_exactly(&Case {
        ends: &[128],
        n: 256,
        k: 64,
        out: DType::Bf16,
        grid: 1,
    });
}

#[test]
fn gemm_takes_each_group_of_rows_with_its_weights() {
    for out in [DType::Bf16, DType::F32] {
        check_exactly(&Case {
            ends: &[70, 70, 200],
            n: 72,
            k: 100,
            out,
            grid: 3,
        });
    }
}

#[test]
fn gemm_rounds_once() {
    let case = Case {
        ends: &[40, 150],
        n: 200,
        k: 500,
        out: DType::Bf16,
        grid: 2,
    };
    let (plan, y) = case.plan();
    let tensors = random_tensors(&plan, &mut Random::new(7));
    let expected = expected(&plan, y, &tensors);
    let product = case.product(&tensors);
    each_run(SEEDS, |run| {
        expected.check(&product.launch(Emulator::load(), run)?)
    });
}
