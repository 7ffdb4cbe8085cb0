//! Plans of one op, or of the ops that one kernel fuses: the cases that row kernels are tested and timed on.
//!
//! [`TESTS`] have sizes on both sides of every edge of the row kernels, with tails in every dimension; [`BENCHES`] are
//! the sizes of the 1080p pass. The reference is the plan itself on [`crate::cpu::Cpu`].

use crate::{
    DType::{self, Bf16, F32, I32},
    plan::{Buf, Builder, Dense, Grid, Norm, Op, Plan, Scale},
};

/// Added to mean squares.
pub const EPS: f32 = 1e-6;
/// Scale of embeddings: the square root of the text encoder's width.
pub const EMBED_SCALE: f32 = 62.0;
/// Columns and angles of a head whose norm and rotary embedding are one kernel.
const HEAD: usize = 128;
const ANGLES: usize = 48;
const CLAMP: Op = Op::Clamp {
    low: -2.0,
    high: 3.0,
};

/// The op.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RowOp {
    /// Norm of heads of `width` columns with a weight per group of rows.
    RmsNorm {
        /// Type of x.
        x: DType,
        /// Type of the result.
        y: DType,
        /// Columns normalised together.
        width: usize,
    },
    /// [`RowOp::RmsNorm`] over heads of 128 columns in f32, then [`RowOp::Rope`] to bf16.
    NormRope,
    /// Rotary embedding of heads of `head` columns with `half` angles.
    Rope {
        /// Type of x.
        x: DType,
        /// Columns of a head.
        head: usize,
        /// Angles of a row.
        half: usize,
    },
    /// x times the sigmoid of a gate for each head of `head` columns.
    SigmoidGate {
        /// Columns of a head.
        head: usize,
    },
    /// [`Op::SwiGlu7`] in bf16.
    SwiGlu7,
    /// An op of which [`Op::is_map`] is true, in bf16.
    Map(&'static Op),
    /// Elementwise product of two bf16.
    Mul,
    /// Sum of two types in f32, or in bf16 if both are bf16.
    Add(DType, DType),
    /// Sum of f32 and another type, and the norm of its rows in bf16.
    AddRmsNorm(DType),
    /// Weighted sum of `inputs` buffers, with a factor for each buffer and each of `groups` equal parts of the rows.
    Combine {
        /// Buffers added.
        inputs: usize,
        /// Equal parts of the rows.
        groups: usize,
    },
    /// From one type to another.
    Copy(DType, DType),
    /// Latent to tokens.
    Patchify(Grid),
    /// Tokens to latent.
    Unpatchify(Grid),
    /// Rows of a bf16 table of `vocabulary` rows.
    Embed {
        /// Rows of the table.
        vocabulary: usize,
        /// Type of the result.
        y: DType,
    },
    /// [`Op::RowScale`] of this type.
    RowScale(DType),
    /// [`Op::Quantize`] of this type, by a factor or by the scales of the rows.
    Quantize(DType, Option<f32>),
    /// Scales of rows of this type, and the rows in FP8.
    ScaledRows(DType),
    /// The norm of rows of this type in bf16, then [`RowOp::ScaledRows`].
    NormQuantize(DType),
    /// [`RowOp::AddRmsNorm`], then [`RowOp::ScaledRows`].
    AddNormQuantize(DType),
    /// [`RowOp::SwiGlu7`], then FP8 by a factor.
    SwiGlu7Quantize,
    /// [`Op::Gelu7`] in bf16, then FP8 by a factor.
    Gelu7Quantize,
    /// GEMM in f32.
    Linear {
        /// Columns of x.
        k: usize,
        /// Whether there is a bias.
        bias: bool,
    },
}

/// An op at a size.
#[derive(Clone, Copy, Debug)]
pub struct RowCase {
    /// The op.
    pub op: RowOp,
    /// Group offsets: where each group of rows ends; the last is the number of rows.
    pub ends: &'static [usize],
    /// Columns of the result.
    pub cols: usize,
    /// Columns before and after every matrix in its buffer; a multiple of 8.
    pub margin: usize,
}

impl RowCase {
    /// Rows of the result.
    pub fn rows(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The plan, and its outputs.
    pub fn plan(&self) -> (Plan, Vec<Buf>) {
        let mut p = Builder::new();
        let made = self.emit(&mut p);
        let plan = p.finish();
        (plan, made)
    }

    fn emit(&self, p: &mut Builder) -> Vec<Buf> {
        let (rows, cols) = (self.rows(), self.cols);
        let one = match self.op {
            RowOp::RmsNorm { x, y, width } => {
                let x = self.input(p, "x", cols, x);
                self.at(p, y).rms_norm("norm", x, self.ends, norm(width, y))
            }
            RowOp::NormRope => {
                let x = self.input(p, "x", cols, Bf16);
                let table = p.input("table", [rows, 2 * ANGLES], F32);
                let normed = p.rms_norm("norm", x, self.ends, norm(HEAD, F32));
                self.at(p, Bf16).rope("y", normed, table, cols / HEAD, Bf16)
            }
            RowOp::Rope { x, head, half } => {
                let x = self.input(p, "x", cols, x);
                let table = self.input(p, "table", 2 * half, F32);
                self.at(p, Bf16).rope("y", x, table, cols / head, Bf16)
            }
            RowOp::SigmoidGate { head } => {
                let x = self.input(p, "x", cols, Bf16);
                let gate = self.input(p, "gate", cols / head, Bf16);
                self.at(p, Bf16).sigmoid_gate("y", x, gate, Bf16)
            }
            RowOp::SwiGlu7 => {
                let u = self.input(p, "u", 2 * cols, Bf16);
                self.at(p, Bf16).swiglu7("y", u, Bf16)
            }
            RowOp::Map(op) => self.map(p, op.clone(), [Bf16; 2]),
            RowOp::Copy(x, y) => self.map(p, Op::Copy, [x, y]),
            RowOp::Mul => {
                let [u, z] = ["u", "z"].map(|name| self.input(p, name, cols, Bf16));
                self.at(p, Bf16).mul("y", u, z, Bf16)
            }
            RowOp::Add(x, z) => {
                let out = if x == z { x } else { F32 };
                let (x, z) = (self.input(p, "x", cols, x), self.input(p, "z", cols, z));
                self.at(p, out).add("y", x, z, out)
            }
            RowOp::AddRmsNorm(z) => return self.add_rms_norm(p, z),
            RowOp::Combine { inputs, groups } => return vec![self.combine(p, inputs, groups)],
            RowOp::Patchify(grid) => {
                let x = p.input("x", [cols / 4, grid.positions()], F32);
                self.at(p, F32).patchify("y", x, grid)
            }
            RowOp::Unpatchify(grid) => {
                let x = p.input("x", [grid.tokens(), 4 * rows], F32);
                self.at(p, F32).unpatchify("y", x, grid)
            }
            RowOp::Embed { vocabulary, y } => {
                let ids = p.input("ids", [rows], I32);
                self.at(p, y)
                    .embed("table", ids, [vocabulary, cols], EMBED_SCALE, y)
            }
            RowOp::Linear { k, bias } => {
                let x = self.input(p, "x", k, F32);
                let dense = Dense {
                    bias,
                    ..Dense::new(cols, F32)
                };
                self.at(p, F32).linear("linear", x, self.ends, dense)
            }
            _ => return self.quantized(p),
        };
        vec![one]
    }

    /// Columns of an input that is wider by the margins.
    fn input(&self, p: &mut Builder, name: &str, cols: usize, dtype: DType) -> Buf {
        let whole = p.input(name, [self.rows(), cols + 2 * self.margin], dtype);
        p.cols(whole, self.margin..self.margin + cols)
    }

    /// The next op writes between the margins of an output.
    fn at<'p>(&self, p: &'p mut Builder, dtype: DType) -> &'p mut Builder {
        let whole = p.assemble("out", [self.rows(), self.cols + 2 * self.margin], dtype);
        p.output(whole);
        let part = p.cols(whole, self.margin..self.margin + self.cols);
        p.at(part)
    }

    fn map(&self, p: &mut Builder, op: Op, [x, y]: [DType; 2]) -> Buf {
        let x = self.input(p, "x", self.cols, x);
        self.at(p, y).map("y", op, x, y)
    }

    fn add_rms_norm(&self, p: &mut Builder, z: DType) -> Vec<Buf> {
        let made = self.sum_and_norm(p, z);
        p.output(made[1]);
        made.to_vec()
    }

    /// The sum, which is an output, and its norm.
    fn sum_and_norm(&self, p: &mut Builder, z: DType) -> [Buf; 2] {
        let shape = [self.rows(), self.cols];
        let (x, z) = (p.input("x", shape, F32), p.input("z", shape, z));
        let sum = p.add("sum", x, z, F32);
        p.output(sum);
        let normed = p.rms_norm("norm", sum, self.ends, norm(self.cols, Bf16));
        [sum, normed]
    }

    /// Ops whose result is FP8 or its scales.
    fn quantized(&self, p: &mut Builder) -> Vec<Buf> {
        match self.op {
            RowOp::RowScale(x) => {
                let x = self.input(p, "x", self.cols, x);
                let scales = p.row_scale("scale", x);
                p.output(scales);
                vec![scales]
            }
            RowOp::Quantize(x, factor) => {
                let x = self.input(p, "x", self.cols, x);
                let rows = || Scale::Rows(p.input("scale", [1, self.rows()], F32));
                let scale = factor.map_or_else(rows, Scale::Fixed);
                vec![fp8(p, x, scale)]
            }
            RowOp::SwiGlu7Quantize => {
                let u = self.input(p, "u", 2 * self.cols, Bf16);
                let y = p.swiglu7("y", u, Bf16);
                vec![fp8(p, y, Scale::Fixed(8.0))]
            }
            RowOp::Gelu7Quantize => {
                let u = self.input(p, "u", self.cols, Bf16);
                let y = p.map("y", Op::Gelu7, u, Bf16);
                vec![fp8(p, y, Scale::Fixed(64.0))]
            }
            RowOp::ScaledRows(x) => {
                let x = self.input(p, "x", self.cols, x);
                scaled_rows(p, x)
            }
            RowOp::NormQuantize(x) => {
                let x = self.input(p, "x", self.cols, x);
                let normed = p.rms_norm("norm", x, self.ends, norm(self.cols, Bf16));
                scaled_rows(p, normed)
            }
            RowOp::AddNormQuantize(z) => {
                let [sum, normed] = self.sum_and_norm(p, z);
                let mut made = scaled_rows(p, normed);
                made.push(sum);
                made
            }
            other => panic!("FP8 case called with {other:?}"),
        }
    }

    fn combine(&self, p: &mut Builder, inputs: usize, groups: usize) -> Buf {
        let factors = p.input("c", [inputs, groups], F32);
        let shape = [self.rows(), self.cols];
        let xs: Vec<Buf> = (0..inputs)
            .map(|i| p.input(&format!("x{i}"), shape, F32))
            .collect();
        let y = p.combine("y", factors, &xs);
        p.output(y);
        y
    }
}

/// Quantises rows to FP8, an output.
fn fp8(p: &mut Builder, x: Buf, scale: Scale) -> Buf {
    let q = p.quantize("q", x, scale);
    p.output(q);
    q
}

/// The scales of the rows of x and the rows in FP8, both outputs.
fn scaled_rows(p: &mut Builder, x: Buf) -> Vec<Buf> {
    let scales = p.row_scale("scale", x);
    p.output(scales);
    vec![scales, fp8(p, x, Scale::Rows(scales))]
}

fn norm(width: usize, out: DType) -> Norm {
    Norm::new(width, EPS, Some(F32), out)
}

const fn test(op: RowOp, ends: &'static [usize], cols: usize) -> RowCase {
    RowCase {
        op,
        ends,
        cols,
        margin: 8,
    }
}

const fn bench(op: RowOp, ends: &'static [usize], cols: usize) -> RowCase {
    RowCase {
        op,
        ends,
        cols,
        margin: 0,
    }
}

const fn rms_norm(x: DType, y: DType, width: usize) -> RowOp {
    RowOp::RmsNorm { x, y, width }
}

const fn rope(x: DType, head: usize, half: usize) -> RowOp {
    RowOp::Rope { x, head, half }
}

const fn combine(inputs: usize, groups: usize) -> RowOp {
    RowOp::Combine { inputs, groups }
}

const fn embed(vocabulary: usize, y: DType) -> RowOp {
    RowOp::Embed { vocabulary, y }
}

const fn linear(k: usize, bias: bool) -> RowOp {
    RowOp::Linear { k, bias }
}

/// Sizes on both sides of every edge: a block's elements, eight columns, a group of rows, a tile.
pub const TESTS: &[RowCase] = &[
    test(rms_norm(Bf16, F32, 8), &[1, 3], 8),
    test(rms_norm(Bf16, F32, 2056), &[2, 2, 5], 2056),
    test(rms_norm(F32, F32, 2048), &[5], 2048),
    test(rms_norm(F32, F32, 6144), &[1, 2, 3], 6144),
    test(rms_norm(Bf16, F32, 128), &[4, 7], 5 * 128),
    test(rms_norm(Bf16, F32, 768), &[3], 3 * 768),
    test(RowOp::NormRope, &[1], 128),
    test(RowOp::NormRope, &[3, 3, 7], 5 * 128),
    test(RowOp::NormRope, &[8], 8 * 128),
    test(rope(F32, 128, 48), &[7], 5 * 128),
    test(rope(Bf16, 128, 48), &[1], 3 * 128),
    test(rope(Bf16, 24, 8), &[37], 3 * 24),
    test(rope(F32, 16, 8), &[9], 16),
    test(RowOp::SigmoidGate { head: 128 }, &[13], 5 * 128),
    test(RowOp::SigmoidGate { head: 8 }, &[2], 24),
    test(RowOp::SwiGlu7, &[5], 1),
    test(RowOp::SwiGlu7, &[3], 4),
    test(RowOp::SwiGlu7, &[7], 85),
    test(RowOp::SwiGlu7, &[2], 2052),
    test(RowOp::Map(&Op::Gelu7), &[3], 1),
    test(RowOp::Map(&Op::Gelu7), &[7], 2043),
    test(RowOp::Map(&Op::GeluTanh), &[7], 293),
    test(RowOp::Map(&Op::Silu), &[5], 517),
    test(RowOp::Map(&Op::Relu), &[5], 517),
    test(RowOp::Map(&CLAMP), &[5], 517),
    test(RowOp::Mul, &[5], 517),
    test(RowOp::Mul, &[1], 8),
    test(RowOp::Add(F32, Bf16), &[5], 517),
    test(RowOp::Add(F32, F32), &[3], 7),
    test(RowOp::Add(Bf16, Bf16), &[9], 264),
    test(RowOp::AddRmsNorm(Bf16), &[1], 8),
    test(RowOp::AddRmsNorm(Bf16), &[2, 2, 5], 2056),
    test(RowOp::AddRmsNorm(F32), &[3, 4], 5120),
    test(RowOp::AddRmsNorm(F32), &[2], 6144),
    test(combine(2, 1), &[7], 5),
    test(combine(5, 1), &[48], 72),
    test(combine(2, 9), &[27], 192),
    test(combine(3, 3), &[33], 237),
    test(combine(1, 2), &[2], 2048),
    test(RowOp::Copy(F32, F32), &[48], 72),
    test(RowOp::Copy(F32, Bf16), &[7], 301),
    test(RowOp::Copy(Bf16, F32), &[7], 301),
    test(RowOp::Copy(Bf16, Bf16), &[1], 3),
    test(RowOp::Patchify(Grid::new(3, 4, 6)), &[18], 192),
    test(RowOp::Patchify(Grid::new(2, 2, 34)), &[34], 20),
    test(RowOp::Patchify(Grid::new(1, 2, 2)), &[1], 4),
    test(RowOp::Unpatchify(Grid::new(3, 4, 6)), &[48], 72),
    test(RowOp::Unpatchify(Grid::new(2, 2, 34)), &[5], 136),
    test(RowOp::Unpatchify(Grid::new(1, 2, 2)), &[1], 4),
    test(embed(11, Bf16), &[7], 261),
    test(embed(3, F32), &[5], 8),
    test(RowOp::RowScale(F32), &[5], 517),
    test(RowOp::RowScale(Bf16), &[2], 6152),
    test(RowOp::Quantize(F32, None), &[5], 517),
    test(RowOp::Quantize(Bf16, None), &[3], 7),
    test(RowOp::Quantize(Bf16, Some(512.0)), &[5], 264),
    test(RowOp::Quantize(F32, Some(8.0)), &[1], 2049),
    test(RowOp::ScaledRows(Bf16), &[5], 517),
    test(RowOp::ScaledRows(F32), &[3], 6152),
    test(RowOp::NormQuantize(F32), &[2, 2, 5], 2056),
    test(RowOp::NormQuantize(Bf16), &[1], 8),
    test(RowOp::AddNormQuantize(Bf16), &[2, 2, 5], 2056),
    test(RowOp::AddNormQuantize(F32), &[2], 6144),
    test(RowOp::SwiGlu7Quantize, &[7], 85),
    test(RowOp::Gelu7Quantize, &[5], 517),
    test(linear(1, false), &[1], 1),
    test(linear(16, true), &[128], 64),
    test(linear(17, true), &[129], 65),
    test(linear(192, true), &[70, 70, 199], 70),
    test(linear(64, false), &[3, 140], 192),
    test(linear(331, false), &[127], 63),
    test(linear(5123, true), &[3], 2),
];

/// 32 latent frames of 2040 tokens, 128 audio tokens and 640 text tokens.
const ALL: &[usize] = &[66_048];
const MODALITIES: &[usize] = &[65_280, 65_408, 66_048];
const VIDEO: &[usize] = &[65_280];
const LATENT: Grid = Grid::new(32, 68, 120);

/// Sizes of the 1080p pass.
pub const BENCHES: &[RowCase] = &[
    bench(rms_norm(Bf16, F32, 5120), ALL, 5120),
    bench(rms_norm(F32, F32, 5120), ALL, 5120),
    bench(RowOp::NormRope, MODALITIES, 5120),
    bench(rope(F32, 128, 48), ALL, 5120),
    bench(RowOp::SigmoidGate { head: 128 }, ALL, 5120),
    bench(RowOp::SwiGlu7, ALL, 13_652),
    bench(RowOp::Map(&Op::Gelu7), ALL, 20_480),
    bench(RowOp::Add(F32, Bf16), ALL, 5120),
    bench(RowOp::AddRmsNorm(Bf16), MODALITIES, 5120),
    bench(RowOp::ScaledRows(Bf16), ALL, 5120),
    bench(RowOp::NormQuantize(F32), MODALITIES, 5120),
    bench(RowOp::AddNormQuantize(Bf16), MODALITIES, 5120),
    bench(RowOp::SwiGlu7Quantize, ALL, 13_652),
    bench(RowOp::Gelu7Quantize, ALL, 20_480),
    bench(combine(5, 1), &[48], 261_120),
    bench(RowOp::Copy(F32, F32), &[48], 261_120),
    bench(RowOp::Patchify(LATENT), VIDEO, 192),
    bench(RowOp::Unpatchify(LATENT), &[48], 261_120),
    bench(linear(192, true), VIDEO, 5120),
    bench(linear(5120, false), VIDEO, 192),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_a_plan() {
        for case in TESTS.iter().chain(BENCHES) {
            let (plan, outputs) = case.plan();
            assert!(!plan.steps().is_empty() && !outputs.is_empty(), "{case:?}");
        }
    }
}
