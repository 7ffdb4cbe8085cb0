//! Rows in FP8, bit for bit: the kernels that only scale and quantise against the rounding of `src/tensor`, the fused
//! ones against the other kernel followed by these.

use gallop::{
    DType, Tensor,
    tensor::{e4m3_from_f32, e4m3_scale},
};

use super::SEEDS;
use crate::{
    emulate::{Arg, Edit, Emulator, Launch, Memory, Run, each_run, runs},
    random::Random,
};

const THREADS: usize = 256;
const WIDE_THREADS: usize = 1024;
/// `ROW_COLS` of the kernels with 256 threads for a row.
const ROW_COLS: usize = 6144;
const EPS: f32 = 1e-6;
const POISON: u8 = 0xff;
/// Behind each row that a kernel reads: larger than all its numbers.
const PADDING: u8 = 0x7e;
/// Elements from scale to scale.
const SCALE_PITCH: usize = 8;

/// A matrix in memory.
struct Matrix {
    dtype: DType,
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    memory: Memory,
}

impl Matrix {
    /// Random rows: the second of zeros, the third very small, the fourth very large.
    fn random(dtype: DType, rows: usize, cols: usize, random: &mut Random) -> Self {
        let values = random.values(rows * cols).into_iter().enumerate();
        let scaled = values.map(|(i, v)| match i / cols {
            1 => 0.0,
            2 => v * 1e-20,
            3 => v * 1e20,
            _ => v * 5.0,
        });
        Self::of(dtype, rows, cols, &scaled.collect::<Vec<_>>())
    }

    fn of(dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Self {
        let tensor = Tensor::from_f32([rows, cols], values).cast(dtype);
        let (row_bytes, pitch_bytes) = (cols * dtype.size(), pitch(cols) * dtype.size());
        let mut bytes = vec![PADDING; rows * pitch_bytes];
        for (to, from) in bytes
            .chunks_exact_mut(pitch_bytes)
            .zip(tensor.bytes().chunks_exact(row_bytes))
        {
            to[..row_bytes].copy_from_slice(from);
        }
        Self {
            dtype,
            rows,
            cols,
            values: tensor.to_f32().into_owned(),
            memory: Memory::of_bytes(&bytes),
        }
    }

    fn at(&self) -> Arg {
        Arg::Pointer(self.memory.address())
    }

    fn scales(&self) -> Vec<f32> {
        self.values
            .chunks_exact(self.cols)
            .map(e4m3_scale)
            .collect()
    }
}

fn pitch(cols: usize) -> usize {
    cols.next_multiple_of(16) + 16
}

/// What a kernel writes: rows of FP8 and their scales.
struct Rows {
    rows: usize,
    cols: usize,
    q: Memory,
    scales: Memory,
}

impl Rows {
    fn unwritten(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            q: Memory::poisoned(rows * pitch(cols)),
            scales: Memory::poisoned(rows * SCALE_PITCH * 4),
        }
    }

    fn at(&self) -> [Arg; 2] {
        [&self.q, &self.scales].map(|memory| Arg::Pointer(memory.address()))
    }

    /// The rows and the bits of their scales, if nothing else was written.
    fn read(&self) -> Result<(Vec<u8>, Vec<u32>), String> {
        let scales = self.scales.bytes()?;
        let scales = strip(&scales, SCALE_PITCH * 4, 4)?;
        let bits = scales.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b));
        let q = strip(&self.q.bytes()?, pitch(self.cols), self.cols)?;
        assert_eq!(q.len(), self.rows * self.cols);
        Ok((q, bits.collect()))
    }

    fn check(&self, q: &[u8], scales: &[f32]) -> Result<(), String> {
        let (got, got_scales) = self.read()?;
        let wrong = got_scales
            .iter()
            .zip(scales)
            .position(|(got, want)| *got != want.to_bits());
        if let Some(row) = wrong {
            let got = f32::from_bits(got_scales[row]);
            return Err(format!("scale {row} is {got}, expected {}", scales[row]));
        }
        same(&got, q, self.cols)
    }
}

/// The first `used` bytes of every `pitch`; nothing else may have been written.
fn strip(bytes: &[u8], pitch: usize, used: usize) -> Result<Vec<u8>, String> {
    let mut kept = Vec::new();
    for (row, line) in bytes.chunks_exact(pitch).enumerate() {
        if line[used..].iter().any(|&byte| byte != POISON) {
            return Err(format!("row {row} was written behind its end"));
        }
        kept.extend_from_slice(&line[..used]);
    }
    Ok(kept)
}

fn same(got: &[u8], want: &[u8], cols: usize) -> Result<(), String> {
    assert_eq!(got.len(), want.len());
    match got.iter().zip(want).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(i) => Err(format!(
            "row {}, column {}: {:#x}, expected {:#x}",
            i / cols,
            i % cols,
            got[i],
            want[i]
        )),
    }
}

fn run(
    emulator: &Emulator,
    kernel: &str,
    [grid, threads]: [usize; 2],
    order: Run,
    args: &[Arg],
) -> Result<(), String> {
    emulator.launch(kernel, &Launch::new(grid, threads as u32), order, args)
}

/// Launches the kernel for rows of x; without `quantised` only the scales are made.
fn row_scale_quantize(
    emulator: &Emulator,
    x: &Matrix,
    to: &Rows,
    quantised: bool,
    order: Run,
) -> Result<(), String> {
    let [q, scales] = to.at();
    let q = if quantised { q } else { Arg::Pointer(0) };
    let mut args = vec![q, scales, x.at()];
    args.extend([x.cols, pitch(x.cols), pitch(x.cols), SCALE_PITCH].map(Arg::int));
    let (wide, threads) = match x.cols > ROW_COLS {
        true => ("_wide", WIDE_THREADS),
        false => ("", THREADS),
    };
    let kernel = format!("row_scale_quantize{wide}_{}", x.dtype);
    run(emulator, &kernel, [x.rows, threads], order, &args)
}

/// Rows of x, and what they become.
struct Scaled {
    x: Matrix,
    q: Vec<u8>,
    scales: Vec<f32>,
}

impl Scaled {
    fn random(dtype: DType, cols: usize) -> Self {
        let x = Matrix::random(dtype, 5, cols, &mut Random::new(cols as u64));
        let scales = x.scales();
        let q = x.values.iter().enumerate();
        let q = q.map(|(i, v)| e4m3_from_f32(v * (1.0 / scales[i / cols])));
        Self {
            q: q.collect(),
            scales,
            x,
        }
    }

    fn check(&self, emulator: &Emulator, order: Run) -> Result<(), String> {
        let Self { x, q, scales } = self;
        let to = Rows::unwritten(x.rows, x.cols);
        row_scale_quantize(emulator, x, &to, true, order)?;
        to.check(q, scales)?;
        let to = Rows::unwritten(x.rows, x.cols);
        row_scale_quantize(emulator, x, &to, false, order)?;
        to.check(&vec![POISON; q.len()], scales)
    }
}

#[test]
fn rows_become_8_bits_and_a_scale() {
    for dtype in [DType::Bf16, DType::F32] {
        for cols in [1, 8, 13, 2047, 2056, 5120, 6141, 6145, 13_652, 24_576] {
            let scaled = Scaled::random(dtype, cols);
            each_run(SEEDS, |order| scaled.check(Emulator::load(), order));
        }
    }
}

#[test]
fn elements_become_8_bits_by_scales_or_a_factor() {
    for dtype in [DType::Bf16, DType::F32] {
        for cols in [1, 8, 13, 301, 2056] {
            let x = Matrix::random(dtype, 5, cols, &mut Random::new(cols as u64));
            // Some come to more than 448.
            let given = [0.25, 1.0, 3e-23, 2e18, 0.0101];
            let mut lines = vec![f32::NAN; x.rows * SCALE_PITCH];
            for (row, scale) in given.iter().enumerate() {
                lines[row * SCALE_PITCH] = *scale;
            }
            let given_at = Memory::of(&Tensor::from_f32([lines.len()], &lines));
            for factor in [None, Some(64.0)] {
                let by = |row: usize| factor.unwrap_or(1.0 / given[row]);
                let q = x.values.iter().enumerate();
                let q: Vec<u8> = q.map(|(i, v)| e4m3_from_f32(v * by(i / cols))).collect();
                let from = factor.map_or(given_at.address(), |_| 0);
                each_run(SEEDS, |order| {
                    let to = Rows::unwritten(x.rows, cols);
                    let mut args = vec![to.at()[0], x.at(), Arg::Pointer(from)];
                    let sizes = [x.rows, cols, pitch(cols), pitch(cols), SCALE_PITCH];
                    args.extend(sizes.map(Arg::int));
                    args.push(Arg::Float(factor.unwrap_or(f32::NAN)));
                    let blocks = (x.rows * cols.div_ceil(8)).div_ceil(THREADS);
                    let kernel = format!("quantize_{dtype}");
                    run(Emulator::load(), &kernel, [blocks, THREADS], order, &args)?;
                    same(&strip(&to.q.bytes()?, pitch(cols), cols)?, &q, cols)
                });
            }
        }
    }
}

/// Weights of the norm, one row for each of two groups, and where these end.
fn norm_weight(cols: usize, random: &mut Random) -> [Memory; 2] {
    let w = Tensor::from_f32([2 * cols], &random.values(2 * cols));
    [Memory::of(&w), Memory::of_ints(&[2, 5])]
}

/// What `norm` writes to its result in bf16, scaled and quantised by the kernel for that.
fn quantised(
    [rows, cols]: [usize; 2],
    order: Run,
    norm: impl FnOnce(Arg) -> Result<(), String>,
) -> Result<(Vec<u8>, Vec<u32>), String> {
    let y = Matrix::of(DType::Bf16, rows, cols, &vec![f32::NAN; rows * cols]);
    norm(y.at())?;
    let to = Rows::unwritten(rows, cols);
    row_scale_quantize(Emulator::load(), &y, &to, true, order)?;
    to.read()
}

fn equal(got: &(Vec<u8>, Vec<u32>), want: &(Vec<u8>, Vec<u32>), cols: usize) -> Result<(), String> {
    same(&got.0, &want.0, cols)?;
    if got.1 == want.1 {
        return Ok(());
    }
    Err(format!("scales {:x?}, expected {:x?}", got.1, want.1))
}

/// `QuantizedNorm` of rows of `cols`.
fn shape(cols: usize) -> Arg {
    let sizes = [cols, pitch(cols), pitch(cols), SCALE_PITCH].map(|n| n as u32);
    Arg::structure(&[&sizes[..], &[EPS.to_bits()]].concat())
}

/// Whether the norm of rows in FP8 is that of the kernels of [`Emulator::load`], one after the other.
fn check_norm(emulator: &Emulator, dtype: DType, cols: usize, order: Run) -> Result<(), String> {
    let mut random = Random::new(cols as u64);
    let x = Matrix::random(dtype, 5, cols, &mut random);
    let [w, ends] = norm_weight(cols, &mut random);
    let from = [&x.memory, &w, &ends].map(|memory| Arg::Pointer(memory.address()));
    let want = quantised([x.rows, cols], order, |y| {
        let mut args = vec![y];
        args.extend(from);
        args.extend([x.rows, 1, cols, pitch(cols), pitch(cols)].map(Arg::int));
        args.push(Arg::Float(EPS));
        let kernel = format!("rms_norm_rows_{dtype}");
        run(Emulator::load(), &kernel, [x.rows, THREADS], order, &args)
    })?;
    let to = Rows::unwritten(x.rows, cols);
    let mut args = to.at().to_vec();
    args.extend(from);
    args.extend([cols, pitch(cols), pitch(cols), SCALE_PITCH].map(Arg::int));
    args.push(Arg::Float(EPS));
    let kernel = format!("rms_norm_quantize_{dtype}");
    run(emulator, &kernel, [x.rows, THREADS], order, &args)?;
    equal(&to.read()?, &want, cols)
}

#[test]
fn a_norm_and_its_8_bits_are_those_of_two_kernels() {
    for dtype in [DType::Bf16, DType::F32] {
        for cols in [8, 2056, 5120, 6144] {
            each_run(SEEDS, |order| {
                check_norm(Emulator::load(), dtype, cols, order)
            });
        }
    }
}

#[test]
fn mistakes_are_found() {
    let edit = |file, find, replace| Edit {
        file,
        find,
        replace,
    };
    for edit in [
        edit("quantize.cuh", "fabsf(v)", "v"),
        edit("quantize.cuh", "largest > 0.0f ?", "true ?"),
        edit(
            "quantize.cu",
            "if (col + k >= cols) chunk[i].v[k] = 0.0f;",
            "",
        ),
        edit("common.cuh", "if (i < count) store_one(", "store_one("),
        edit("common.cuh", "__syncthreads();", ""),
    ] {
        let emulator = Emulator::load_edited("quantize.cu", &[edit]);
        let scaled = [2047, 13_652].map(|cols| Scaled::random(DType::Bf16, cols));
        let fails = |order| {
            scaled
                .iter()
                .any(|case| case.check(emulator, order).is_err())
        };
        assert!(
            runs(SEEDS).into_iter().any(fails),
            "nothing fails with {edit:?}"
        );
    }
    let edit = edit(
        "rms_norm_quantize.cu",
        "round_row<THREADS>(chunk, cols);",
        "",
    );
    let emulator = Emulator::load_edited("rms_norm_quantize.cu", &[edit]);
    let fails = |order| check_norm(emulator, DType::F32, 2056, order).is_err();
    assert!(
        runs(SEEDS).into_iter().all(fails),
        "nothing fails with {edit:?}"
    );
}

#[test]
fn a_sum_its_norm_and_8_bits_are_those_of_two_kernels() {
    for dtype in [DType::Bf16, DType::F32] {
        for cols in [8, 2056, 6144] {
            let mut random = Random::new(cols as u64);
            let x = Matrix::random(DType::F32, 5, cols, &mut random);
            let z = Matrix::random(dtype, 5, cols, &mut random);
            let [w, ends] = norm_weight(cols, &mut random);
            let from = [&x.memory, &z.memory, &w, &ends].map(|m| Arg::Pointer(m.address()));
            each_run(SEEDS, |order| {
                let sums = [(); 2].map(|()| Memory::poisoned(x.rows * pitch(cols) * 4));
                let want = quantised([x.rows, cols], order, |y| {
                    let mut args = vec![y, Arg::Pointer(sums[0].address())];
                    args.extend(from);
                    args.extend([cols, pitch(cols)].map(Arg::int));
                    args.push(Arg::Float(EPS));
                    let kernel = format!("add_rms_norm_{dtype}");
                    run(Emulator::load(), &kernel, [x.rows, THREADS], order, &args)
                })?;
                let to = Rows::unwritten(x.rows, cols);
                let mut args = to.at().to_vec();
                args.push(Arg::Pointer(sums[1].address()));
                args.extend(from);
                args.push(shape(cols));
                let kernel = format!("add_rms_norm_quantize_{dtype}");
                run(Emulator::load(), &kernel, [x.rows, THREADS], order, &args)?;
                equal(&to.read()?, &want, cols)?;
                same(&sums[1].bytes()?, &sums[0].bytes()?, 4 * pitch(cols))
            });
        }
    }
}

#[test]
fn an_activation_and_its_8_bits_are_those_of_two_kernels() {
    for (op, pairs, factor) in [("swiglu7", 2, 8.0), ("gelu7", 1, 64.0)] {
        for cols in [1, 4, 85, 2052] {
            let rows = 3;
            let values = Random::new(cols as u64).values(rows * pairs * cols);
            let values: Vec<f32> = values.iter().map(|v| 10.0 * v).collect();
            let u = Matrix::of(DType::Bf16, rows, pairs * cols, &values);
            let blocks = (rows * cols.div_ceil(8)).div_ceil(THREADS);
            each_run(SEEDS, |order| {
                let call = |to: &Memory, dtype: &str, factor: Option<f32>| {
                    let mut args = vec![Arg::Pointer(to.address()), u.at()];
                    args.extend([rows, cols, pitch(u.cols), pitch(cols)].map(Arg::int));
                    args.extend(factor.map(Arg::Float));
                    let kernel = format!("{op}_{dtype}");
                    run(Emulator::load(), &kernel, [blocks, THREADS], order, &args)
                };
                let y = Memory::poisoned(rows * pitch(cols) * 2);
                call(&y, "bf16", None)?;
                let y = strip(&y.bytes()?, pitch(cols) * 2, cols * 2)?;
                let y = Tensor::from_bytes([rows, cols], DType::Bf16, &y);
                let want: Vec<u8> = y
                    .to_f32()
                    .iter()
                    .map(|v| e4m3_from_f32(v * factor))
                    .collect();
                let q = Memory::poisoned(rows * pitch(cols));
                call(&q, "e4m3", Some(factor))?;
                same(&strip(&q.bytes()?, pitch(cols), cols)?, &want, cols)
            });
        }
    }
}
