//! Builder methods of the ops on rows of tokens.

use super::{
    Attention, Buf, Builder, Grid, MaskBlock, NormWeight, Op, RmsNorm, Scaling, buffer::dotted,
};
use crate::tensor::{DType, Shape};

/// A linear layer: `rows` outputs per group, weight `NAME.weight` `[groups * rows, k]` and, with `bias`, `NAME.bias`
/// `[groups * rows]`.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// Outputs.
    pub rows: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// Type of the weight and the bias as used.
    pub weight: DType,
    /// Type of the result.
    pub out: DType,
}

impl Dense {
    /// Without a bias, its weight and its result of one type.
    pub const fn new(rows: usize, dtype: DType) -> Self {
        Self {
            rows,
            bias: false,
            weight: dtype,
            out: dtype,
        }
    }
}

/// A root-mean-square norm over runs of `width` columns, weight `NAME.weight` if `weight` is set.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Columns normalised together.
    pub width: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Type of the norm weight as used, a unit offset: the factor is `1 + w`. `None`: no weight.
    pub weight: Option<DType>,
    /// Type of the result.
    pub out: DType,
}

impl Norm {
    /// Over runs of `width` columns, with a weight of type `weight`, if any.
    pub const fn new(width: usize, eps: f32, weight: Option<DType>, out: DType) -> Self {
        Self {
            width,
            eps,
            weight,
            out,
        }
    }
}

/// How values are scaled before they become E4m3.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// Each row is divided by its entry of this buffer, made by [`Builder::row_scale`].
    Rows(Buf),
    /// All values are multiplied by this power of two.
    Fixed(f32),
}

impl Scale {
    /// The scaling that the matmul undoes.
    pub(super) fn scaling(self) -> Scaling {
        match self {
            Self::Rows(_) => Scaling::Rows,
            Self::Fixed(factor) => Scaling::Fixed(factor),
        }
    }

    /// The buffer of row scales.
    pub(super) fn buffer(self) -> Option<Buf> {
        match self {
            Self::Rows(scales) => Some(scales),
            Self::Fixed(_) => None,
        }
    }
}

impl Builder {
    /// [`Op::Linear`]: `[.., k]` to `[.., dense.rows]`.
    #[track_caller]
    pub fn linear(&mut self, name: &str, x: Buf, ends: &[usize], dense: Dense) -> Buf {
        let shape = self.shape(x).clone();
        self.check_ends(name, &shape, ends);
        let all = ends.len() * dense.rows;
        let mut reads = vec![
            x,
            self.weight(&dotted(name, "weight"), [all, shape.cols()], dense.weight),
        ];
        if dense.bias {
            reads.push(self.weight(&dotted(name, "bias"), [all], dense.weight));
        }
        let op = Op::Linear {
            ends: ends.to_vec(),
            scaling: Scaling::None,
        };
        self.emit(name, op, reads, with_cols(&shape, dense.rows), dense.out)
    }

    /// [`Op::Linear`] of FP8 values `x` `[.., k]` that were scaled by `scale`: weight `NAME.weight` `[groups * rows,
    /// k]` E4M3 and `NAME.weight_scale` `[1, groups * rows]` f32; result `[.., rows]`.
    #[track_caller]
    pub fn scaled_linear(
        &mut self,
        name: &str,
        x: Buf,
        scale: Scale,
        ends: &[usize],
        (rows, out): (usize, DType),
    ) -> Buf {
        let shape = self.shape(x).clone();
        self.check_ends(name, &shape, ends);
        assert_eq!(self.spec(x).dtype, DType::E4m3, "{name}: type of x");
        let all = ends.len() * rows;
        let weight = [all, shape.cols()];
        let mut reads = vec![x, self.weight(&dotted(name, "weight"), weight, DType::E4m3)];
        reads.extend(scale.buffer());
        reads.push(self.weight(&dotted(name, "weight_scale"), [1, all], DType::F32));
        let op = Op::Linear {
            ends: ends.to_vec(),
            scaling: scale.scaling(),
        };
        self.emit(name, op, reads, with_cols(&shape, rows), out)
    }

    /// [`Op::RowScale`]: `[.., k]` to f32 `[1, rows]`; contiguous, as cuBLASLt expects scales.
    #[track_caller]
    pub fn row_scale(&mut self, name: &str, x: Buf) -> Buf {
        let shape = Shape::from([1, self.shape(x).rows()]);
        self.emit(name, Op::RowScale, vec![x], shape, DType::F32)
    }

    /// [`Op::Quantize`]: shape kept; result E4M3.
    #[track_caller]
    pub fn quantize(&mut self, name: &str, x: Buf, scale: Scale) -> Buf {
        let shape = self.shape(x).clone();
        let mut reads = vec![x];
        reads.extend(scale.buffer());
        let factor = match scale {
            Scale::Rows(s) => {
                let scales = self.shape(s);
                assert!(
                    scales.rows() == 1 && scales.cols() == shape.rows(),
                    "{name}: scales {scales} for {shape}"
                );
                None
            }
            Scale::Fixed(factor) => Some(factor),
        };
        self.emit(name, Op::Quantize { factor }, reads, shape, DType::E4m3)
    }

    /// [`Op::RmsNorm`]: shape kept.
    #[track_caller]
    pub fn rms_norm(&mut self, name: &str, x: Buf, ends: &[usize], norm: Norm) -> Buf {
        let shape = self.shape(x).clone();
        self.check_ends(name, &shape, ends);
        assert_eq!(
            shape.cols() % norm.width,
            0,
            "{name}: {} columns in runs of {}",
            shape.cols(),
            norm.width
        );
        let mut reads = vec![x];
        if let Some(dtype) = norm.weight {
            reads.push(self.weight(&dotted(name, "weight"), [ends.len() * norm.width], dtype));
        }
        let weight = if norm.weight.is_some() {
            NormWeight::UnitOffset
        } else {
            NormWeight::None
        };
        let op = RmsNorm {
            eps: norm.eps,
            width: norm.width,
            weight,
            ends: ends.to_vec(),
        };
        self.emit(name, Op::RmsNorm(op), reads, shape, norm.out)
    }

    /// [`Op::L2Norm`] with the weight `NAME.gamma` of shape `gamma`; shape and type kept.
    #[track_caller]
    pub fn l2_norm(&mut self, name: &str, x: Buf, gamma: &[usize], eps: f32, weight: DType) -> Buf {
        let (shape, dtype) = (self.shape(x).clone(), self.spec(x).dtype);
        let gamma = self.weight(&dotted(name, "gamma"), gamma, weight);
        assert_eq!(
            self.shape(gamma).count(),
            shape.cols(),
            "{name}: weights for {} channels",
            shape.cols()
        );
        self.emit(name, Op::L2Norm { eps }, vec![x, gamma], shape, dtype)
    }

    /// [`Op::Rope`]: x `[n, heads * d]`, table `[n, 2 * half]`; shape kept.
    #[track_caller]
    pub fn rope(&mut self, name: &str, x: Buf, table: Buf, heads: usize, out: DType) -> Buf {
        let (shape, angles) = (self.shape(x).clone(), self.shape(table).clone());
        assert_eq!(shape.rows(), angles.rows(), "{name}: rows of x and table");
        assert!(
            shape.cols().is_multiple_of(heads) && angles.cols() <= shape.cols() / heads,
            "{name}: {shape}, {angles}"
        );
        self.emit(name, Op::Rope { heads }, vec![x, table], shape, out)
    }

    /// [`Op::Attention`] over `[q, k, v]`: q `[n, heads * d]`, k and v `[m, kv_heads * d]`; result as q.
    ///
    /// # Panics
    /// If shapes and mask blocks do not fit.
    #[track_caller]
    pub fn attention(&mut self, name: &str, qkv: [Buf; 3], op: Attention, out: DType) -> Buf {
        let [q, k, v] = qkv.map(|buf| self.shape(buf).clone());
        let (heads, kv_heads) = (op.heads, op.kv_heads);
        assert!(
            heads.is_multiple_of(kv_heads) && q.cols().is_multiple_of(heads),
            "{name}: {heads} heads, {kv_heads} key heads"
        );
        let d = q.cols() / heads;
        assert!(
            k == v && k.cols() == kv_heads * d,
            "{name}: q {q}, k {k}, v {v}"
        );
        check_windows(name, &op.windows, q.rows(), k.rows());
        self.emit(name, Op::Attention(op), qkv.to_vec(), q, out)
    }

    /// [`Op::SigmoidGate`]: x `[n, heads * d]`, gate `[n, heads]`; shape kept.
    #[track_caller]
    pub fn sigmoid_gate(&mut self, name: &str, x: Buf, gate: Buf, out: DType) -> Buf {
        let (shape, gates) = (self.shape(x).clone(), self.shape(gate));
        assert!(
            shape.rows() == gates.rows() && shape.cols().is_multiple_of(gates.cols()),
            "{name}: {shape}, gate {gates}"
        );
        self.emit(name, Op::SigmoidGate, vec![x, gate], shape, out)
    }

    /// [`Op::SwiGlu7`]: `[.., 2 n]` to `[.., n]`.
    #[track_caller]
    pub fn swiglu7(&mut self, name: &str, u: Buf, out: DType) -> Buf {
        let shape = self.shape(u).clone();
        assert!(
            shape.cols().is_multiple_of(2),
            "{name}: odd width {}",
            shape.cols()
        );
        let half = with_cols(&shape, shape.cols() / 2);
        self.emit(name, Op::SwiGlu7, vec![u], half, out)
    }

    /// An op of which [`Op::is_map`] is true; shape kept.
    #[track_caller]
    pub fn map(&mut self, name: &str, op: Op, x: Buf, out: DType) -> Buf {
        assert!(op.is_map(), "{name}: {} is no map", op.name());
        let shape = self.shape(x).clone();
        self.emit(name, op, vec![x], shape, out)
    }

    /// [`Op::Add`]: equal shapes.
    #[track_caller]
    pub fn add(&mut self, name: &str, x: Buf, y: Buf, out: DType) -> Buf {
        self.pair(name, Op::Add, [x, y], out)
    }

    /// [`Op::Mul`]: equal shapes.
    #[track_caller]
    pub fn mul(&mut self, name: &str, x: Buf, y: Buf, out: DType) -> Buf {
        self.pair(name, Op::Mul, [x, y], out)
    }

    #[track_caller]
    fn pair(&mut self, name: &str, op: Op, xy: [Buf; 2], out: DType) -> Buf {
        let [x, y] = xy.map(|buf| self.shape(buf).clone());
        assert!(
            x.rows() == y.rows() && x.cols() == y.cols(),
            "{name}: {x} and {y}"
        );
        self.emit(name, op, xy.to_vec(), x, out)
    }

    /// [`Op::Combine`]: coefficients `[xs, groups]` f32, equal shapes; result f32.
    #[track_caller]
    pub fn combine(&mut self, name: &str, coefficients: Buf, xs: &[Buf]) -> Buf {
        let (shape, table) = (self.shape(xs[0]).clone(), self.shape(coefficients));
        assert!(
            table.rows() == xs.len() && shape.rows().is_multiple_of(table.cols()),
            "{name}: {table} for {} of {shape}",
            xs.len()
        );
        let same = xs.iter().all(|&x| self.shape(x).count() == shape.count());
        assert!(same, "{name}: inputs of several shapes");
        let reads = std::iter::once(coefficients)
            .chain(xs.iter().copied())
            .collect();
        self.emit(name, Op::Combine, reads, shape, DType::F32)
    }

    /// [`Op::Affine`]: x `[.., c]`, a and b `[c]`; shape kept.
    #[track_caller]
    pub fn affine(&mut self, name: &str, x: Buf, [a, b]: [Buf; 2], out: DType) -> Buf {
        let shape = self.shape(x).clone();
        assert!(
            self.shape(a).count() == shape.cols() && self.shape(b).count() == shape.cols(),
            "{name}: vectors for {shape}"
        );
        self.emit(name, Op::Affine, vec![x, a, b], shape, out)
    }

    /// [`Op::Embed`]: ids `[n]` i32 and the weight `name` `[vocabulary, width]` to `[n, width]`.
    #[track_caller]
    pub fn embed(
        &mut self,
        name: &str,
        ids: Buf,
        table: [usize; 2],
        scale: f32,
        out: DType,
    ) -> Buf {
        let rows = self.shape(ids).count();
        let weight = self.weight(&dotted(name, "weight"), table, DType::Bf16);
        let (reads, shape) = (vec![ids, weight], [rows, table[1]].into());
        self.emit(name, Op::Embed { scale }, reads, shape, out)
    }

    /// [`Op::Patchify`]: a latent `[c, T H W]` to tokens `[T H/2 W/2, 4 c]` f32.
    #[track_caller]
    pub fn patchify(&mut self, name: &str, x: Buf, grid: Grid) -> Buf {
        let shape = self.shape(x);
        assert_eq!(
            shape.cols(),
            grid.positions(),
            "{name}: positions of {shape}"
        );
        let tokens = [grid.tokens(), 4 * shape.rows()].into();
        self.emit(name, Op::Patchify(grid), vec![x], tokens, DType::F32)
    }

    /// [`Op::Unpatchify`]: tokens `[T H/2 W/2, 4 c]` to a latent `[c, T H W]` f32.
    #[track_caller]
    pub fn unpatchify(&mut self, name: &str, x: Buf, grid: Grid) -> Buf {
        let shape = self.shape(x);
        assert_eq!(shape.rows(), grid.tokens(), "{name}: tokens of {shape}");
        let latent = [shape.cols() / 4, grid.positions()].into();
        self.emit(name, Op::Unpatchify(grid), vec![x], latent, DType::F32)
    }

    #[track_caller]
    fn check_ends(&self, name: &str, shape: &Shape, ends: &[usize]) {
        assert!(
            ends.is_sorted() && ends.last() == Some(&shape.rows()),
            "{name}: groups end at {ends:?}, rows {}",
            shape.rows()
        );
    }
}

#[track_caller]
fn check_windows(name: &str, windows: &[MaskBlock], queries: usize, keys: usize) {
    let mut next = 0;
    for window in windows {
        assert_eq!(
            window.queries.start, next,
            "{name}: windows in order, without gaps"
        );
        next = window.queries.end;
        assert!(!window.keys.is_empty(), "{name}: a window without keys");
        let mut end = 0;
        for range in &window.keys {
            assert!(
                range.start >= end && range.start < range.end && range.end <= keys,
                "{name}: keys {:?} of {keys}",
                window.keys
            );
            end = range.end;
        }
    }
    assert_eq!(next, queries, "{name}: queries covered");
}

pub(super) fn with_cols(shape: &Shape, cols: usize) -> Shape {
    let mut extents = shape.extents().to_vec();
    if let Some(last) = extents.last_mut() {
        *last = cols;
    }
    Shape::new(extents)
}
