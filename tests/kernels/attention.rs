//! `kernels/sm90/attention.cu` with random numbers: tails of queries and keys, ranges that start and end anywhere, shared
//! key heads, gates.

use std::{f32::consts::LOG2_E, ops::Range};

use gallop::{
    DType, Tensor,
    cuda::{
        attention_tiles::attention_tiles,
        kernels::attention::{BOX_COLS, HEAD, SMEM_BYTES, THREADS, TILE_K, TILE_Q},
        params::AttentionTile,
    },
    plan::{self, Buf, Builder, MaskBlock, Plan},
};

use crate::{
    SEEDS,
    emulate::{Arg, Emulator, Launch, MapType, Memory, Run, Swizzle, TensorMap, each_run},
    random::Random,
    run::{Tensors, run},
    tolerance::Expected,
};

const SCALE: f32 = 0.088_388_35;
/// Rows behind the last one of every buffer: what lies there must not count, and must not be written.
const ROWS_BEHIND: usize = 150;
/// Columns behind the last one of y.
const COLS_BEHIND: usize = 8;
/// Large, and finite, for values that are multiplied by zero.
const LARGE: f32 = 1e38;

/// Attention of heads of 128; q and the gates are columns of one buffer, k and v of another.
pub(crate) struct Case {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) gate: bool,
    pub(crate) windows: Vec<MaskBlock>,
    /// Blocks; fewer than tiles, so that some do several.
    pub(crate) grid: usize,
}

/// A case with its operands in memory, and what comes out.
pub(crate) struct Attention<'a> {
    case: &'a Case,
    q: Memory,
    kv: Memory,
    tiles: Memory,
    num_tiles: usize,
    expected: Expected,
}

impl Case {
    pub(crate) fn check(&self) {
        let attention = self.attention();
        each_run(SEEDS, |run| attention.check(Emulator::load(), run));
    }

    pub(crate) fn attention(&self) -> Attention<'_> {
        let tensors = self.tensors();
        let tiles = attention_tiles(&self.windows, self.heads, self.kv_heads).unwrap();
        Attention {
            case: self,
            q: Memory::of(&tensors["q"]),
            kv: Memory::of(&tensors["kv"]),
            num_tiles: tiles.len(),
            tiles: Memory::of_ints(&tiles.iter().flat_map(numbers).collect::<Vec<i32>>()),
            expected: self.expected(&tensors),
        }
    }

    fn queries(&self) -> usize {
        self.windows[self.windows.len() - 1].queries.end
    }

    /// Rows of k and v, with those behind the last key.
    fn kv_rows(&self) -> usize {
        let ends = self
            .windows
            .iter()
            .flat_map(|w| w.keys.iter().map(|r| r.end));
        ends.max().unwrap() + ROWS_BEHIND
    }

    /// Columns of q, then those of the gates, up to a multiple of 16 bytes.
    fn q_pitch(&self) -> usize {
        (self.heads * HEAD + self.heads).next_multiple_of(8)
    }

    fn kv_cols(&self) -> usize {
        self.kv_heads * HEAD
    }

    /// Random numbers with scores of many sizes. What no query should see is not a number, except for values that a
    /// step may read behind a range.
    fn tensors(&self) -> Tensors {
        let mut random = Random::new(self.queries() as u64);
        let mut rows = |rows: usize, cols: usize, factor: f32| -> Vec<Vec<f32>> {
            let row = |_| random.values(cols).iter().map(|v| v * factor).collect();
            (0..rows).map(row).collect()
        };
        let mut q = rows(self.queries(), self.q_pitch(), 6.0);
        q.resize(self.queries() + ROWS_BEHIND, vec![f32::NAN; self.q_pitch()]);
        let mut kv = rows(self.kv_rows(), 2 * self.kv_cols(), 1.0);
        let ranges = || self.windows.iter().flat_map(|window| &window.keys);
        for (index, row) in kv.iter_mut().enumerate() {
            if ranges().any(|range| range.contains(&index)) {
                continue;
            }
            let touched = ranges().any(|range| (range.end..range.end + TILE_K).contains(&index));
            let (k, v) = row.split_at_mut(self.kv_cols());
            k.fill(f32::NAN);
            v.fill(if touched { LARGE } else { f32::NAN });
        }
        let tensor = |rows: Vec<Vec<f32>>| {
            let shape = [rows.len(), rows[0].len()];
            Tensor::from_f32(shape, &rows.concat()).cast(DType::Bf16)
        };
        Tensors::from([("q".into(), tensor(q)), ("kv".into(), tensor(kv))])
    }

    fn plan(&self) -> (Plan, Buf) {
        let (cols, kv_cols) = (self.heads * HEAD, self.kv_cols());
        let mut p = Builder::new();
        let whole = p.input("q", [self.queries(), self.q_pitch()], DType::Bf16);
        let kv = p.input("kv", [self.kv_rows(), 2 * kv_cols], DType::Bf16);
        let q = p.cols(whole, 0..cols);
        let gate = p.cols(whole, cols..cols + self.heads);
        let k = p.cols(kv, 0..kv_cols);
        let v = p.cols(kv, kv_cols..2 * kv_cols);
        let op = plan::Attention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            scale: SCALE,
            softcap: None,
            windows: self.windows.clone(),
        };
        let mut y = p.attention("core", [q, k, v], op, DType::Bf16);
        if self.gate {
            y = p.sigmoid_gate("gated", y, gate, DType::Bf16);
        }
        p.output(y);
        (p.finish(), y)
    }

    fn expected(&self, tensors: &Tensors) -> Expected {
        let (plan, y) = self.plan();
        let mut tensors = tensors.clone();
        let rows = &tensors["q"].to_f32()[..self.queries() * self.q_pitch()];
        let q = Tensor::from_f32([self.queries(), self.q_pitch()], rows).cast(DType::Bf16);
        tensors.insert("q".into(), q);
        let exact = run(&plan.in_f32(), &tensors, false).read(y).unwrap();
        let exact = exact.to_f32().into_owned();
        Expected::of_bf16(&self.rounded(&tensors), exact, self.heads * HEAD)
    }

    /// The equation in f64, with p, the result and the gated result rounded to bf16.
    fn rounded(&self, tensors: &Tensors) -> Vec<f32> {
        let (q, kv) = (tensors["q"].to_f32(), tensors["kv"].to_f32());
        let mut y = Vec::new();
        for row in 0..self.queries() {
            let of_row = |window: &MaskBlock| window.queries.contains(&row);
            let window = self.windows.iter().find(|&window| of_row(window)).unwrap();
            let keys: Vec<usize> = window.keys.iter().cloned().flatten().collect();
            let q = &q[row * self.q_pitch()..(row + 1) * self.q_pitch()];
            for head in 0..self.heads {
                let kv_head = head / (self.heads / self.kv_heads);
                let at = |key: usize, part: usize| {
                    let start = (key * 2 + part) * self.kv_cols() + kv_head * HEAD;
                    &kv[start..start + HEAD]
                };
                let of_head = &q[head * HEAD..(head + 1) * HEAD];
                let scores = keys.iter().map(|&key| dot(of_head, at(key, 0)) * SCALE);
                let scores: Vec<f32> = scores.collect();
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let p: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
                let sum: f64 = p.iter().map(|&p| f64::from(p)).sum();
                let gate = f64::from(q[self.heads * HEAD + head]);
                for col in 0..HEAD {
                    let terms = p.iter().zip(&keys);
                    let terms =
                        terms.map(|(&p, &key)| bf16(f64::from(p)) * f64::from(at(key, 1)[col]));
                    let mut value = bf16(terms.sum::<f64>() / sum);
                    if self.gate {
                        value = bf16(value / (1.0 + (-gate).exp()));
                    }
                    y.push(value as f32);
                }
            }
        }
        y
    }
}

impl Attention<'_> {
    /// Runs the kernel, compares y, and looks whether what lies around it is untouched.
    pub(crate) fn check(&self, emulator: &Emulator, run: Run) -> Result<(), String> {
        let case = self.case;
        let (rows, cols) = (case.queries(), case.heads * HEAD);
        let (all_rows, pitch) = (rows + ROWS_BEHIND, cols + COLS_BEHIND);
        let y = Memory::poisoned(all_rows * pitch * 2);
        let kv_cols = case.kv_cols();
        let q_map = map(
            emulator,
            self.q.address(),
            [all_rows, cols, case.q_pitch()],
            TILE_Q,
        )?;
        let kv_map = |address| {
            let shape = [case.kv_rows(), kv_cols, 2 * kv_cols];
            map(emulator, address, shape, TILE_K)
        };
        let gate = self.q.address() + cols as u64 * 2;
        let args = [
            Arg::Pointer(y.address()),
            Arg::Map(q_map),
            Arg::Map(kv_map(self.kv.address())?),
            Arg::Map(kv_map(self.kv.address() + kv_cols as u64 * 2)?),
            Arg::Pointer(if case.gate { gate } else { 0 }),
            Arg::Pointer(self.tiles.address()),
            Arg::int(self.num_tiles),
            Arg::Float(SCALE * LOG2_E),
            Arg::int(pitch),
            Arg::int(case.q_pitch()),
        ];
        let launch = Launch {
            smem: SMEM_BYTES as u32,
            ..Launch::new(case.grid, THREADS as u32)
        };
        emulator.launch("attention_bf16", &launch, run, &args)?;
        let whole = y.bytes()?;
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (row, bytes) in whole.chunks_exact(pitch * 2).enumerate() {
            let (y, behind) = bytes.split_at(if row < rows { cols * 2 } else { 0 });
            inside.extend_from_slice(y);
            outside.extend_from_slice(behind);
        }
        if outside.iter().any(|&byte| byte != 0xff) {
            return Err("written outside of y".into());
        }
        let got = Tensor::from_bytes([rows, cols], DType::Bf16, &inside);
        self.expected.check(&got)
    }
}

/// The map of a matrix [rows, cols] whose rows are `pitch` apart.
fn map(
    emulator: &Emulator,
    address: u64,
    [rows, cols, pitch]: [usize; 3],
    box_rows: usize,
) -> Result<TensorMap, String> {
    emulator.tensor_map(
        (MapType::Bf16, address),
        &[cols as u64, rows as u64],
        &[pitch as u64 * 2],
        &[BOX_COLS as u32, box_rows as u32],
        Swizzle::B128,
    )
}

/// A tile as it lies in memory.
fn numbers(tile: &AttentionTile) -> Vec<i32> {
    let keys = tile.keys.iter().flat_map(|keys| [keys.start, keys.end]);
    let head = [tile.row, tile.end, tile.head, tile.kv_head];
    head.into_iter().chain(keys).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.sum::<f64>() as f32
}

fn bf16(value: f64) -> f64 {
    half::bf16::from_f64(value).to_f64()
}

/// One head whose `queries` rows see `keys`.
fn one_head(queries: usize, keys: impl IntoIterator<Item = Range<usize>>) -> Case {
    Case {
        heads: 1,
        kv_heads: 1,
        gate: false,
        windows: vec![MaskBlock::new(0..queries, keys)],
        grid: 1,
    }
}

/// Frames of `per_frame` rows that see the frames at most `window_radius` away and `rest` rows behind the
/// last frame, which see everything.
fn local(frames: usize, per_frame: usize, window_radius: usize, rest: usize) -> Vec<MaskBlock> {
    let (video, all) = (frames * per_frame, frames * per_frame + rest);
    let mut windows: Vec<MaskBlock> = (0..frames)
        .map(|i| {
            let near = i.saturating_sub(window_radius)..(i + window_radius + 1).min(frames);
            let near = near.start * per_frame..near.end * per_frame;
            MaskBlock::new(i * per_frame..(i + 1) * per_frame, [near, video..all])
        })
        .collect();
    windows.push(MaskBlock::new(video..all, [0..all]));
    windows
}

#[test]
fn any_number_of_queries() {
    for queries in [1, 63, 64, 65, 128, 129, 200] {
        one_head(queries, [0..250]).check();
    }
}

#[test]
fn any_number_of_keys() {
    for keys in [1, 2, 111, 112, 113, 224, 225, 336, 337, 700] {
        one_head(70, [0..keys]).check();
    }
}

#[test]
fn ranges_of_keys_that_start_and_end_anywhere() {
    one_head(66, [13..200, 250..263, 500..501]).check();
    one_head(66, [1..113, 114..339]).check();
    one_head(66, [300..301, 450..600]).check();
}

#[test]
fn heads_that_share_keys_and_gates() {
    for (heads, kv_heads, gate) in [(5, 1, true), (4, 2, false), (4, 2, true)] {
        Case {
            heads,
            kv_heads,
            gate,
            grid: 3,
            ..one_head(130, [0..180])
        }
        .check();
    }
}

#[test]
fn windows_of_frames_with_other_rows_behind_them() {
    Case {
        heads: 2,
        gate: true,
        windows: local(4, 150, 1, 37),
        grid: 2,
        ..one_head(1, [])
    }
    .check();
}
