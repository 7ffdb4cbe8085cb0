//! The ops, each with its equation. The builder method of the same name checks shapes; ops of one argument that keep the
//! shape go through [`super::Builder::map`].
//!
//! To add an op:
//!
//! 1. here: the variant, its name, and its place in [`Op::is_map`] or a builder method in `build_token.rs` or `build_conv.rs`;
//! 2. `src/cpu/executor.rs`: the truth. The tests of plans pass now; `tests/plans/ops.rs` is the place for its equation;
//! 3. `kernels/`: an entry point, and its equation at the file's head; `src/cuda/launch/table.rs`: its row, and beside it
//!    its launch, which all maps share. `dialect.cuh` has the approximate functions; C's own (`tanhf`) do as well;
//! 4. `src/qualify/cases.rs`: shapes. That is all for a map whose entry point is `NAME_bf16`; another op has its arguments in
//!    `tests/kernels/rows/launch.rs`, its tolerance in `truth.rs`, its group of cases in `mod.rs`, and mistakes that these
//!    must find in `tests/kernels/mutation/rows.rs`. `--test kernels` runs the kernel, `--test cuda` the table's row;
//! 5. `tools/resources.sh` rewrites the table of machine code.

use std::ops::Range;

/// A block of an attention mask: a range of queries and the key ranges that they see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaskBlock {
    /// Rows of q.
    pub queries: Range<usize>,
    /// Rows of k and v, as disjoint ranges; one softmax over their union.
    pub keys: Vec<Range<usize>>,
}

impl MaskBlock {
    /// Merges `keys` into ascending ranges without overlap; empty ones are dropped.
    pub fn new(queries: Range<usize>, keys: impl IntoIterator<Item = Range<usize>>) -> Self {
        let mut merged: Vec<Range<usize>> = Vec::new();
        for range in keys.into_iter().filter(|range| !range.is_empty()) {
            match merged.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => merged.push(range),
            }
        }
        Self {
            queries,
            keys: merged,
        }
    }
}

/// How a norm's learned weight enters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NormWeight {
    /// No weight.
    None,
    /// Multiply by `1 + w`: the stored weight is a unit offset.
    UnitOffset,
}

/// Normalisation of rows, or of the heads of rows.
#[derive(Clone, PartialEq, Debug)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f32,
    /// Columns normalised together: head_dim, or the whole row.
    pub width: usize,
    /// How the norm weight w enters.
    pub weight: NormWeight,
    /// Group offsets; `width` weights each.
    pub ends: Vec<usize>,
}

/// Heads and mask of attention.
#[derive(Clone, PartialEq, Debug)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Factor on the logits.
    pub scale: f32,
    /// Soft-cap c; `None` for no cap.
    pub softcap: Option<f32>,
    /// The attention mask: which keys each query sees.
    pub windows: Vec<MaskBlock>,
}

/// What a convolution reads beyond the edges of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaddingMode {
    /// Zeros.
    Zero,
    /// The nearest frame, row or column.
    Replicate,
}

/// Geometry of a 3D convolution over `[frames, height, width, channels]`; the kernel's extents are the weight's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conv3d {
    /// Step per axis.
    pub stride: [usize; 3],
    /// Positions added in front of each axis.
    pub before: [usize; 3],
    /// Positions added behind each axis.
    pub after: [usize; 3],
    /// Padding mode of time; space is always padded with zeros.
    pub time_padding: PaddingMode,
    /// Whether each channel is convolved alone.
    pub depthwise: bool,
}

impl Conv3d {
    /// Stride 1 and symmetric padding that keeps height and width under a kernel of extents `kernel` `[time, rows,
    /// columns]`; time is padded as given.
    pub fn same(
        kernel: [usize; 3],
        frames_before: usize,
        frames_after: usize,
        time_padding: PaddingMode,
    ) -> Self {
        let [_, kh, kw] = kernel;
        Self {
            stride: [1; 3],
            before: [frames_before, kh / 2, kw / 2],
            after: [frames_after, kh / 2, kw / 2],
            time_padding,
            depthwise: false,
        }
    }
}

/// Geometry of a 1D convolution over `[samples, channels]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conv1d {
    /// Step.
    pub stride: usize,
    /// Distance between taps, samples.
    pub dilation: usize,
    /// Zeros on each side.
    pub padding: usize,
}

/// Order of the sub-pixels when channels become pixels: which channel of four goes to which row and column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PixelOrder {
    /// `4c + 2 * row + column`: the order of pixel shuffle.
    RowMajor,
    /// `4c + 2 * column + row`: the order of the video autoencoders' patches.
    ColumnMajor,
}

/// Frames and latent rows and columns of a video latent `[48, frames * height * width]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Latent frames.
    pub frames: usize,
    /// Latent rows; even.
    pub height: usize,
    /// Latent columns; even.
    pub width: usize,
}

impl Grid {
    /// The latent frames, rows and columns.
    pub const fn new(frames: usize, height: usize, width: usize) -> Self {
        Self {
            frames,
            height,
            width,
        }
    }

    /// Tokens of one latent frame: 2x2 patches.
    pub fn tokens_per_frame(self) -> usize {
        (self.height / 2) * (self.width / 2)
    }

    /// Tokens of all frames.
    pub fn tokens(self) -> usize {
        self.frames * self.tokens_per_frame()
    }

    /// Positions of one channel: `frames * height * width`.
    pub fn positions(self) -> usize {
        self.frames * self.height * self.width
    }
}

/// Factor on the sums of a matmul that undoes the scaling of its FP8 operands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scaling {
    /// None: the operands were not scaled.
    None,
    /// The scales of x's rows and of w's rows: `s[m] ws[n]`.
    Rows,
    /// x was multiplied by the power of two f: the scales of w's rows over it, `ws[n] / f`.
    Fixed(f32),
}

/// One operation. `ends` are group offsets as of a grouped GEMM: group `g` owns the rows `ends[g - 1]..ends[g]` and
/// the g-th block of weight rows.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// `y[m, n] = sum_k x[m, k] w[g N + n, k] (+ b[n])`; reads x, w, optionally b. With FP8 x and w the sum is scaled:
    /// by `s[m] ws[g N + n]`, reads x, w, s, ws; or by `ws[g N + n] / f`, reads x, w, ws.
    Linear {
        /// Group offsets; one block of weight rows each.
        ends: Vec<usize>,
        /// Factor on the sums.
        scaling: Scaling,
    },
    /// `s[m] = max_k |x[m, k]| / 448`, 1 for a row of zeros, so that a row takes up E4M3's whole range; reads x.
    RowScale,
    /// `x[m, k] (1 / s[m])`, reads x, s; or `x f`, reads x. Rounds to E4M3.
    Quantize {
        /// The factor f; `None` where every row has its scale.
        factor: Option<f32>,
    },
    /// `y = x / sqrt(mean(x^2) + eps) * (1 + w)` over each head of `width` columns; reads x and, with a weight, w.
    RmsNorm(RmsNorm),
    /// `y = x / max(|x|, eps) * sqrt(cols) * w` over each row; reads x, w.
    L2Norm {
        /// Floor of the norm.
        eps: f32,
    },
    /// Half-split rotation of the first `2 half` lanes of each head by the angles of the row's table entry
    /// `[sin(0..half), cos(0..half)]`; reads x, table.
    Rope {
        /// Heads in a row of x.
        heads: usize,
    },
    /// `softmax(cap(scale q kᵀ)) v` per head over the mask blocks, `cap(z) = c tanh(z / c)`; query head j uses
    /// key/value head `j / (heads / kv_heads)`; reads q, k, v.
    Attention(Attention),
    /// `y[n, head] = x[n, head] sigma(gate[n, head])` per head; reads x, gate.
    SigmoidGate,
    /// `a sigma(1.702 a) (b + 1)`, `a = min(u[2j], 7)`, `b = clamp(u[2j+1], -7, 7)`; reads u.
    SwiGlu7,
    /// `a sigma(1.702 a)`, `a = min(u, 7)`; reads u.
    Gelu7,
    /// `gelu_tanh(gate)`; reads gate.
    GeluTanh,
    /// `x sigma(x)`; reads x.
    Silu,
    /// `max(x, 0)`; reads x.
    Relu,
    /// `x + sin(exp(alpha) x)^2 / (exp(beta) + 1e-9)` per channel; reads x, alpha, beta.
    Snake,
    /// `x + y`; reads x, y.
    Add,
    /// `x y`; reads x, y.
    Mul,
    /// `sum_i c[i, g] x_i`, where the rows are split into equal groups g; reads the coefficients `[inputs, groups]`,
    /// then the inputs.
    Combine,
    /// `min(max(x, low), high)`; reads x.
    Clamp {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
    },
    /// `x[:, c] a[c] + b[c]` per channel; reads x, a, b.
    Affine,
    /// `y[t] = scale w[ids[t]]`; reads ids, w.
    Embed {
        /// Factor on the row.
        scale: f32,
    },
    /// Latent `[48, T H W]` to tokens `[T H/2 W/2, 192]`, channel slowest: column `4c + 2dy + dx`; reads x.
    Patchify(Grid),
    /// Tokens `[T H/2 W/2, 192]`, channel fastest: column `(2dy + dx) 48 + c`, to a latent `[48, T H W]`; reads x.
    Unpatchify(Grid),
    /// The same elements, rounded if y's type is narrower; reads x.
    Copy,
    /// `y[t, h, w, o] = b[o] + sum x[...] w[o, i, kt, kh, kw]`; reads x, w, b.
    Conv3d(Conv3d),
    /// `y[n, o] = sum x[stride n + dilation k - padding, i] w[o, i, k] (+ b[o])`; reads x, w, optionally b.
    Conv1d(Conv1d),
    /// Kernel `2 stride`, padding `stride / 2`: `y[n, o] = b[o] + sum x[m, i] w[i, o, k]` over
    /// `n = stride m + k - padding`; reads x, w, b.
    ConvTranspose1d {
        /// Upsampling factor.
        stride: usize,
    },
    /// `g v / |v|`, the norm over all axes but the first; reads v, g.
    WeightNorm,
    /// Nearest-neighbour doubling of height and width; reads x `[T, H, W, C]`.
    UpsampleNearest,
    /// Channels to 2x2 pixels, `[T, H, W, 4C]` to `[T, 2H, 2W, C]`; reads x.
    PixelShuffle(PixelOrder),
    /// The inverse of [`Op::PixelShuffle`]; reads x.
    PixelUnshuffle(PixelOrder),
    /// Halves of the channels to consecutive frames, `[T, H, W, 2C]` to `[2T, H, W, C]`; reads x.
    FrameShuffle,
    /// `trunc(255 min(max(x / 2 + 1 / 2, 0), 1))`, one byte per colour; a line's pixels are contiguous, `[T, H, W, C]`
    /// to `[T, H, W C]`; reads x.
    Bytes,
    /// Averages of neighbouring sub-positions as channels; if `frames` is 2 and T odd, a zero frame is put in front;
    /// reads x.
    AverageDown {
        /// Frames per output frame.
        frames: usize,
        /// Rows and columns per output pixel.
        space: usize,
    },
    /// Channels repeated over sub-positions, first `frames - 1` frames dropped; reads x.
    DuplicateUp {
        /// Output frames per frame.
        frames: usize,
        /// Output rows and columns per pixel.
        space: usize,
    },
}

impl Op {
    /// Whether each element of the result is a function of one element of the only input.
    pub fn is_map(&self) -> bool {
        matches!(
            self,
            Self::Gelu7
                | Self::GeluTanh
                | Self::Silu
                | Self::Relu
                | Self::Clamp { .. }
                | Self::Copy
        )
    }

    /// The op's name in plans, kernels, cases and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::RowScale => "row_scale",
            Self::Quantize { .. } => "quantize",
            Self::RmsNorm(_) => "rms_norm",
            Self::L2Norm { .. } => "l2_norm",
            Self::Rope { .. } => "rope",
            Self::Attention(_) => "attention",
            Self::SigmoidGate => "sigmoid_gate",
            Self::SwiGlu7 => "swiglu7",
            Self::Gelu7 => "gelu7",
            Self::GeluTanh => "gelu_tanh",
            Self::Silu => "silu",
            Self::Relu => "relu",
            Self::Snake => "snake",
            Self::Add => "add",
            Self::Mul => "mul",
            Self::Combine => "combine",
            Self::Clamp { .. } => "clamp",
            Self::Affine => "affine",
            Self::Embed { .. } => "embed",
            Self::Patchify(_) => "patchify",
            Self::Unpatchify(_) => "unpatchify",
            Self::Copy => "copy",
            Self::Conv3d(_) => "conv3d",
            Self::Conv1d(_) => "conv1d",
            Self::ConvTranspose1d { .. } => "conv_transpose1d",
            Self::WeightNorm => "weight_norm",
            Self::UpsampleNearest => "upsample_nearest",
            Self::PixelShuffle(_) => "pixel_shuffle",
            Self::PixelUnshuffle(_) => "pixel_unshuffle",
            Self::FrameShuffle => "frame_shuffle",
            Self::Bytes => "bytes",
            Self::AverageDown { .. } => "average_down",
            Self::DuplicateUp { .. } => "duplicate_up",
        }
    }
}
