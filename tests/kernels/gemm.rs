//! `kernels/sm90/gemm_bf16.cu` and `kernels/sm90/gemm_fp8.cu`: tails in every dimension, groups of rows that end anywhere, rings
//! that wrap, clusters whose second block has no rows, and epilogues.

use gallop::{
    DType::{self, Bf16, E4m3, F32},
    Tensor,
    plan::{Buf, Builder, Dense, Op, Plan, Scale, Scaling},
};

use crate::{
    SEEDS,
    emulate::{Arg, Emulator, Launch, MapType, Memory, Policy, Run, Swizzle, TensorMap, each_run},
    random::Random,
    run::{Tensors, random_tensors, run},
    tolerance::expected,
};

/// Rows of a block's tile, and columns.
const TILE: [usize; 2] = [128, 256];
const CLUSTER: usize = 2;
/// Bytes of a box's rows.
const SPAN: usize = 128;
const THREADS: u32 = 384;
const SMEM_BYTES: u32 = 229_440;
/// Elements from one row's scale to the next.
const SCALE_STEP: usize = 8;
/// `THREADS` of `activation`.
const ACTIVATION_THREADS: usize = 256;

/// The epilogue, and the type of the result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Epilogue {
    Store(DType),
    SwiGlu7(DType),
    Gelu7(DType),
    /// Added to an f32 matrix, which may be where the result goes.
    Add {
        in_place: bool,
    },
}

/// A grouped GEMM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) ends: &'static [usize],
    /// Weight rows of a group.
    pub(crate) n: usize,
    pub(crate) k: usize,
    /// With one, the operands are E4m3.
    pub(crate) scaling: Scaling,
    pub(crate) epilogue: Epilogue,
    /// Fewer than tiles, so that each does several.
    pub(crate) clusters: usize,
}

/// A case with its operands in memory.
pub(crate) struct Product<'a> {
    case: &'a Case,
    tensors: &'a Tensors,
    x: Memory,
    w: Memory,
    scales: Memory,
    weight_scales: Memory,
    tiles: Memory,
    num_tiles: usize,
}

impl Case {
    fn m(&self) -> usize {
        self.ends[self.ends.len() - 1]
    }

    /// Type of x and w.
    fn operand(&self) -> DType {
        match self.scaling {
            Scaling::None => Bf16,
            Scaling::Rows | Scaling::Fixed(_) => E4m3,
        }
    }

    /// Elements from row to row of x and w: a multiple of 16 bytes.
    fn k_pitch(&self) -> usize {
        self.k.next_multiple_of(16 / self.operand().size())
    }

    /// Columns, pitch and type of y.
    fn y(&self) -> (usize, usize, DType) {
        let (cols, dtype) = match self.epilogue {
            Epilogue::Store(dtype) | Epilogue::Gelu7(dtype) => (self.n, dtype),
            Epilogue::SwiGlu7(dtype) => (self.n / 2, dtype),
            Epilogue::Add { .. } => (self.n, F32),
        };
        (cols, cols.next_multiple_of(16), dtype)
    }

    /// The factor in front of the rounding to FP8.
    fn factor(&self) -> f32 {
        if matches!(self.epilogue, Epilogue::SwiGlu7(_)) {
            8.0
        } else {
            64.0
        }
    }

    fn product(&self, p: &mut Builder, out: DType) -> Buf {
        let x = p.input("x", [self.m(), self.k], self.operand());
        match self.scaling {
            Scaling::None => {
                let dense = Dense {
                    rows: self.n,
                    bias: false,
                    weight: Bf16,
                    out,
                };
                p.linear("l", x, self.ends, dense)
            }
            Scaling::Rows => {
                let s = p.input("s", [self.m(), 1], F32);
                p.scaled_linear("l", x, Scale::Rows(s), self.ends, (self.n, out))
            }
            Scaling::Fixed(f) => p.scaled_linear("l", x, Scale::Fixed(f), self.ends, (self.n, out)),
        }
    }

    fn plan(&self) -> (Plan, Buf) {
        let mut p = Builder::new();
        let activated = |p: &mut Builder, dtype, activate: &dyn Fn(&mut Builder, Buf) -> Buf| {
            let product = self.product(p, Bf16);
            let y = activate(p, product);
            if dtype == E4m3 {
                p.quantize("q", y, Scale::Fixed(self.factor()))
            } else {
                y
            }
        };
        let y = match self.epilogue {
            Epilogue::Store(out) => self.product(&mut p, out),
            Epilogue::SwiGlu7(dtype) => activated(&mut p, dtype, &|p, u| p.swiglu7("a", u, Bf16)),
            Epilogue::Gelu7(dtype) => {
                activated(&mut p, dtype, &|p, u| p.map("a", Op::Gelu7, u, Bf16))
            }
            Epilogue::Add { .. } => {
                let product = self.product(&mut p, Bf16);
                let z = p.input("z", [self.m(), self.n], F32);
                p.add("y", z, product, F32)
            }
        };
        p.output(y);
        (p.finish(), y)
    }

    /// Every cluster's tile: first row, end of its group, first column, weight row.
    fn tiles(&self) -> Vec<i32> {
        let mut tiles = Vec::new();
        let mut start = 0;
        for (group, &end) in self.ends.iter().enumerate() {
            for row in (start..end).step_by(CLUSTER * TILE[0]) {
                for col in (0..self.n).step_by(TILE[1]) {
                    tiles.extend([row, end, col, group * self.n + col].map(|v| v as i32));
                }
            }
            start = end;
        }
        tiles
    }

    /// Small whole numbers as operands, those of w in 512ths, and powers of two as scales, so that sums are exact in any
    /// order; and the result: the CPU executor's, but for activations that of their own kernel on the CPU's GEMM.
    pub(crate) fn whole_numbers(&self) -> (Tensors, Tensor) {
        let (plan, y) = self.plan();
        let mut tensors = random_tensors(&plan, &mut Random::new(1));
        let is_bent = matches!(self.epilogue, Epilogue::SwiGlu7(_) | Epilogue::Gelu7(_));
        for (label, tensor) in &mut tensors {
            let whole = |&v: &f32| match label.as_str() {
                "x" => (v * 4.0).round(),
                // Sums of more digits than bf16 has, near zero, where activations bend.
                "l.weight" => (v * 32.0).round() / 512.0,
                "s" | "l.weight_scale" => (v * 2.0).round().exp2(),
                _ => v,
            };
            let values: Vec<f32> = tensor.to_f32().iter().map(whole).collect();
            let dtype = tensor.dtype();
            *tensor = Tensor::from_f32(tensor.shape().clone(), &values).cast(dtype);
        }
        if !is_bent {
            let want = run(&plan, &tensors, false).read(y).unwrap();
            return (tensors, want);
        }
        let stored = Self {
            epilogue: Epilogue::Store(Bf16),
            ..*self
        };
        let (plan, product) = stored.plan();
        let product = run(&plan, &tensors, false).read(product).unwrap();
        let want = self.activated(&product);
        (tensors, want)
    }

    /// The activation kernel's result on `product`, and in FP8 if the case's is.
    fn activated(&self, product: &Tensor) -> Tensor {
        let (cols, pitch, dtype) = self.y();
        let (m, u_pitch) = (self.m(), self.n.next_multiple_of(8));
        let u = Memory::of(&padded(&product.cast(Bf16), u_pitch));
        let y = Memory::poisoned(m * pitch * 2);
        let kernel = if matches!(self.epilogue, Epilogue::SwiGlu7(_)) {
            "swiglu7_bf16"
        } else {
            "gelu7_bf16"
        };
        let mut args = vec![Arg::Pointer(y.address()), Arg::Pointer(u.address())];
        args.extend([m, cols, u_pitch, pitch].map(Arg::int));
        let grid = (m * cols.div_ceil(8)).div_ceil(ACTIVATION_THREADS);
        let first = Run {
            seed: 0,
            policy: Policy::Eager,
        };
        let launch = Launch::new(grid, ACTIVATION_THREADS as u32);
        Emulator::load()
            .launch(kernel, &launch, first, &args)
            .unwrap();
        let values = y.tensor([m, pitch], Bf16).unwrap();
        let values = values.to_f32();
        let rows = values.chunks_exact(pitch).flat_map(|row| &row[..cols]);
        let factor = if dtype == E4m3 { self.factor() } else { 1.0 };
        let scaled: Vec<f32> = rows.map(|v| v * factor).collect();
        Tensor::from_f32([m, cols], &scaled).cast(dtype)
    }

    /// The operands of `tensors` in memory.
    pub(crate) fn prepare<'a>(&'a self, tensors: &'a Tensors) -> Product<'a> {
        let tiles = self.tiles();
        let scales = |label: &str, pitch: usize| {
            let tensor = tensors.get(label).map(|scales| padded(scales, pitch));
            tensor.map_or(Memory::poisoned(0), |scales| Memory::of(&scales))
        };
        Product {
            case: self,
            tensors,
            x: Memory::of(&padded(&tensors["x"], self.k_pitch())),
            w: Memory::of(&padded(&tensors["l.weight"], self.k_pitch())),
            scales: scales("s", SCALE_STEP),
            weight_scales: scales("l.weight_scale", self.ends.len() * self.n),
            num_tiles: tiles.len() / 4,
            tiles: Memory::of_ints(&tiles),
        }
    }
}

impl Product<'_> {
    /// y by `emulator`, [m, columns].
    pub(crate) fn launch(
        &self,
        emulator: &Emulator,
        run: Run,
        truncate: bool,
    ) -> Result<Tensor, String> {
        let case = self.case;
        let (m, (cols, y_pitch, dtype)) = (case.m(), case.y());
        let z_pitch = match case.epilogue {
            Epilogue::Add { in_place: false } => y_pitch + 8,
            _ => y_pitch,
        };
        let z = self
            .tensors
            .get("z")
            .map(|z| Memory::of(&padded(z, z_pitch)));
        let fresh = Memory::poisoned(m * y_pitch * dtype.size());
        let y = match (&z, case.epilogue) {
            (Some(z), Epilogue::Add { in_place: true }) => z,
            _ => &fresh,
        };
        let (kernel, args) = self.call(emulator, y, z.as_ref().map(|z| (z, z_pitch)))?;
        let launch = Launch {
            smem: SMEM_BYTES,
            cluster: CLUSTER as u32,
            truncate,
            ..Launch::new(case.clusters * CLUSTER, THREADS)
        };
        emulator.launch(&kernel, &launch, run, &args)?;
        let whole = y.tensor([m, y_pitch], dtype)?;
        let values = whole.to_f32();
        let (mut inside, mut behind) = (Vec::new(), Vec::new());
        for row in values.chunks_exact(y_pitch) {
            inside.extend_from_slice(&row[..cols]);
            behind.extend_from_slice(&row[cols..]);
        }
        if behind.iter().any(|v| !v.is_nan()) {
            return Err("the kernel wrote behind the last column".into());
        }
        Ok(Tensor::from_f32([m, cols], &inside))
    }

    /// The kernel's name and its arguments.
    fn call(
        &self,
        emulator: &Emulator,
        y: &Memory,
        z: Option<(&Memory, usize)>,
    ) -> Result<(String, Vec<Arg>), String> {
        let case = self.case;
        let (m, n, (cols, y_pitch, dtype)) = (case.m(), case.n, case.y());
        let mut kernel = String::from(match case.scaling {
            Scaling::None => "gemm_bf16",
            Scaling::Rows | Scaling::Fixed(_) => "gemm_fp8",
        });
        kernel.push_str(match case.epilogue {
            Epilogue::Store(F32) => "_f32",
            Epilogue::Store(_) => "",
            Epilogue::SwiGlu7(_) => "_swiglu7",
            Epilogue::Gelu7(_) => "_gelu7",
            Epilogue::Add { .. } => "_add",
        });
        let mut args = vec![Arg::Pointer(y.address())];
        if let Some((z, _)) = z {
            args.push(Arg::Pointer(z.address()));
        }
        if dtype != F32 {
            args.push(Arg::Map(map(emulator, y, dtype, [m, cols, y_pitch, 64])?));
        }
        let (operand, k, k_pitch) = (case.operand(), case.k, case.k_pitch());
        let half = TILE[1] / CLUSTER;
        let rows = case.ends.len() * n;
        for (of, sizes) in [
            (&self.x, [m, k, k_pitch, TILE[0]]),
            (&self.w, [rows, k, k_pitch, half]),
        ] {
            args.push(Arg::Map(map(emulator, of, operand, sizes)?));
        }
        if case.scaling != Scaling::None {
            let (s, scale) = match case.scaling {
                Scaling::Fixed(factor) => (0, 1.0 / factor),
                _ => (self.scales.address(), f32::NAN),
            };
            let scales = Arg::structure(&[SCALE_STEP as u32, scale.to_bits()]);
            args.extend([Arg::Pointer(s), scales]);
            args.push(Arg::Pointer(self.weight_scales.address()));
        }
        args.push(Arg::Pointer(self.tiles.address()));
        let sizes = [
            self.num_tiles,
            m,
            n,
            k,
            y_pitch,
            z.map_or(0, |(_, pitch)| pitch),
        ];
        let mut shape = sizes.map(|n| n as u32).to_vec();
        if dtype == E4m3 {
            kernel.push_str("_e4m3");
            shape.push(case.factor().to_bits());
        }
        args.push(Arg::structure(&shape));
        Ok((kernel, args))
    }

    /// Whether y has the bits of `want`.
    pub(crate) fn check_exactly(
        &self,
        emulator: &Emulator,
        run: Run,
        want: &Tensor,
    ) -> Result<(), String> {
        let got = self.launch(emulator, run, false)?;
        same(&got, want)
    }
}

/// Whether the bits are the same.
fn same(got: &Tensor, want: &Tensor) -> Result<(), String> {
    let cols = got.shape().cols();
    let (got, want) = (got.to_f32(), want.to_f32());
    assert_eq!(got.len(), want.len());
    match got.iter().zip(want.iter()).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!(
            "wrong numbers: row {}, column {} is {}, expected {}",
            at / cols,
            at % cols,
            got[at],
            want[at]
        )),
    }
}

/// A map by boxes as wide as the swizzle of a matrix of rows, columns and pitch.
fn map(
    emulator: &Emulator,
    of: &Memory,
    dtype: DType,
    [rows, cols, pitch, side]: [usize; 4],
) -> Result<TensorMap, String> {
    let kind = if dtype == Bf16 {
        MapType::Bf16
    } else {
        MapType::U8
    };
    let size = dtype.size();
    let (dims, strides) = ([cols as u64, rows as u64], [(pitch * size) as u64]);
    let sides = [(SPAN / size) as u32, side as u32];
    emulator.tensor_map((kind, of.address()), &dims, &strides, &sides, Swizzle::B128)
}

/// The same rows, `pitch` elements apart; what lies between must not count, so it is not a number.
fn padded(tensor: &Tensor, pitch: usize) -> Tensor {
    let cols = tensor.shape().cols();
    let mut values = Vec::new();
    for row in tensor.to_f32().chunks_exact(cols) {
        values.extend_from_slice(row);
        values.resize(values.len() + pitch - cols, f32::NAN);
    }
    Tensor::from_f32([tensor.shape().rows(), pitch], &values).cast(tensor.dtype())
}

#[track_caller]
fn check_exactly(case: &Case) {
    let (tensors, want) = case.whole_numbers();
    let product = case.prepare(&tensors);
    each_run(SEEDS, |run| {
        let checked = product.check_exactly(Emulator::load(), run, &want);
        checked.map_err(|problem| format!("{case:?}: {problem}"))
    });
}

/// Two row tiles of clusters, the second of one row, two column tiles and an odd column, a ring gone round three times
/// and a bit.
const TAILS: Case = Case {
    ends: &[257],
    n: 259,
    k: 830,
    scaling: Scaling::None,
    epilogue: Epilogue::Store(Bf16),
    clusters: 3,
};

/// One tile, of which block 1 has no row; k is one stage or less.
const SMALL: Case = Case {
    ends: &[1],
    n: 1,
    k: 1,
    clusters: 1,
    ..TAILS
};

/// Groups that end inside of tiles, one of them without rows, and one whose second block has two rows.
const GROUPS: Case = Case {
    ends: &[70, 70, 200],
    n: 72,
    k: 100,
    clusters: 2,
    ..TAILS
};

/// The same operands in FP8, with stages of twice as many columns.
fn in_fp8(case: Case, scaling: Scaling) -> Case {
    let k = if case.k > 1 { 2 * case.k } else { 1 };
    Case { k, scaling, ..case }
}

#[test]
fn gemm_is_exact_on_whole_numbers() {
    let full = Case {
        ends: &[256],
        n: 256,
        k: 64,
        ..SMALL
    };
    for case in [TAILS, SMALL, full] {
        check_exactly(&case);
    }
    let epilogue = Epilogue::Store(F32);
    check_exactly(&Case { epilogue, ..TAILS });
}

#[test]
fn gemm_in_fp8_is_exact_on_whole_numbers() {
    check_exactly(&in_fp8(TAILS, Scaling::Rows));
    check_exactly(&in_fp8(SMALL, Scaling::Rows));
    let epilogue = Epilogue::Store(F32);
    let fixed = Scaling::Fixed(8.0);
    check_exactly(&in_fp8(Case { epilogue, ..GROUPS }, fixed));
}

#[test]
fn gemm_takes_each_group_of_rows_with_its_weights() {
    for epilogue in [Epilogue::Store(Bf16), Epilogue::Store(F32)] {
        let case = Case { epilogue, ..GROUPS };
        check_exactly(&case);
        check_exactly(&in_fp8(case, Scaling::Rows));
    }
}

/// Two groups, tiles with and without rows for block 1, boxes at the ends of rows and columns.
const FUSED: Case = Case {
    ends: &[70, 200],
    n: 262,
    k: 100,
    clusters: 2,
    ..TAILS
};

#[test]
fn what_is_made_of_a_product_has_the_bits_of_single_kernels() {
    for epilogue in [Epilogue::SwiGlu7(Bf16), Epilogue::Gelu7(Bf16)] {
        check_exactly(&Case { epilogue, ..FUSED });
    }
    for (epilogue, n) in
        [(false, 262), (true, 259)].map(|(in_place, n)| (Epilogue::Add { in_place }, n))
    {
        check_exactly(&Case {
            epilogue,
            n,
            ..FUSED
        });
    }
}

#[test]
fn what_is_made_of_a_product_in_fp8_has_the_bits_of_single_kernels() {
    let in_place = false;
    let all = [
        (Epilogue::SwiGlu7(Bf16), Scaling::Rows),
        (Epilogue::Gelu7(Bf16), Scaling::Rows),
        (Epilogue::SwiGlu7(E4m3), Scaling::Rows),
        (Epilogue::Gelu7(E4m3), Scaling::Rows),
        (Epilogue::Add { in_place }, Scaling::Fixed(8.0)),
    ];
    for (epilogue, scaling) in all {
        check_exactly(&in_fp8(Case { epilogue, ..FUSED }, scaling));
    }
}

/// Few tiles and many roundings.
const RANDOM: Case = Case {
    ends: &[40, 150],
    n: 200,
    k: 500,
    clusters: 1,
    ..TAILS
};

#[track_caller]
fn check_rounding(case: &Case, seeds: u64, truncate: bool) {
    let (plan, y) = case.plan();
    let tensors = random_tensors(&plan, &mut Random::new(7));
    let expected = expected(&plan, y, &tensors);
    let product = case.prepare(&tensors);
    each_run(seeds, |run| {
        expected.check(&product.launch(Emulator::load(), run, truncate)?)
    });
}

#[test]
fn gemm_rounds_once() {
    check_rounding(&RANDOM, SEEDS, false);
    check_rounding(&in_fp8(RANDOM, Scaling::Rows), SEEDS, false);
}

#[test]
fn what_is_made_of_a_product_is_within_the_cost_of_rounding() {
    let in_place = false;
    for epilogue in [
        Epilogue::SwiGlu7(Bf16),
        Epilogue::Gelu7(Bf16),
        Epilogue::Add { in_place },
    ] {
        let case = Case { epilogue, ..RANDOM };
        check_rounding(&case, 1, false);
        check_rounding(&in_fp8(case, Scaling::Fixed(8.0)), 1, false);
    }
}

/// Sums that 13 bits cannot hold, but their parts of 128 columns.
const LONG: Case = Case {
    ends: &[3],
    n: 5,
    k: 1024,
    scaling: Scaling::Rows,
    epilogue: Epilogue::Store(F32),
    clusters: 1,
};

/// One run of [`LONG`] on positive whole numbers by tensor cores that keep few bits.
pub(crate) fn check_long(emulator: &Emulator) -> Result<(), String> {
    let (plan, y) = LONG.plan();
    let mut tensors = LONG.whole_numbers().0;
    for label in ["x", "l.weight"] {
        let tensor = tensors.get_mut(label).unwrap();
        let count = tensor.shape().count();
        let values: Vec<f32> = (0..count).map(|i| 3.0 + (i % 5) as f32).collect();
        *tensor = Tensor::from_f32(tensor.shape().clone(), &values).cast(E4m3);
    }
    let want = run(&plan, &tensors, false).read(y).unwrap();
    let once = Run {
        seed: 0,
        policy: Policy::Eager,
    };
    same(&LONG.prepare(&tensors).launch(emulator, once, true)?, &want)
}

#[test]
fn gemm_in_fp8_needs_only_13_bits_of_its_tensor_cores() {
    check_long(Emulator::load()).unwrap();
    let case = in_fp8(RANDOM, Scaling::Rows);
    check_rounding(&Case { k: 700, ..case }, 1, true);
}
