//! Launches, one file for each kernel file: which steps it does, its grid, its tensor maps, and why it is sound.
//!
//! All of them rest on the same facts, which their SAFETY notes do not repeat: a view is as large as its rows, columns
//! and pitch say and lies inside the program's memory ([`super::arena`]); the plan's builder checked that the shapes
//! of a step fit together; buffers start at multiples of 256 bytes and pitches are multiples of 8 elements, so that
//! only where a part starts must be looked at ([`View::is_aligned`]); a table lives as long as the program.

pub(super) mod activation;
pub(super) mod add_rms_norm;
pub(super) mod attention;
pub(super) mod attention_plain;
pub(super) mod channel;
pub(super) mod combine;
pub(super) mod conv;
pub(super) mod conv3d;
pub(super) mod copy;
pub(super) mod depthwise;
pub(super) mod embed;
pub(super) mod gate;
pub(super) mod gemm;
pub(super) mod gemm_bf16;
pub(super) mod gemm_fp8;
pub(super) mod l2_norm;
pub(super) mod library;
pub(super) mod linear_f32;
pub(super) mod norm_rope;
pub(super) mod norm_silu;
pub(super) mod patch;
pub(super) mod pixels;
pub(super) mod quantize;
pub(super) mod rms_norm;
pub(super) mod rope;
pub(super) mod synthetic;
pub(super) mod weight_norm;

use half::bf16;

use super::{
    arena::View,
    arguments::{Dev, DevMut, E4m3},
    lower::{Site, Sound, blocks},
};
use crate::{
    DType, Error, Result,
    plan::{Buf, Op, Scaling},
};

/// The launches of a single step.
///
/// # Errors
/// [`Error::Device`] if no kernel does this op with these types and shapes.
pub(super) fn step(site: &mut Site<'_>) -> Result<Vec<Sound>> {
    let op = &site.steps[0].op;
    match op {
        Op::RowScale => quantize::row_scale(site),
        Op::Quantize { factor } => quantize::quantize(site, *factor),
        Op::Linear { ends, scaling } if *scaling != Scaling::None => {
            gemm_fp8::linear(site, ends, *scaling)
        }
        Op::Linear { ends, .. } if site.read(1).dtype == DType::Bf16 => {
            gemm_bf16::linear(site, ends)
        }
        Op::Linear { ends, .. } => linear_f32::linear(site, ends),
        Op::RmsNorm { .. } => rms_norm::rms_norm(site),
        Op::Rope { heads } => rope::rope(site, *heads),
        Op::Attention { .. } => attention::attention(site),
        Op::SigmoidGate => gate::sigmoid_gate(site),
        Op::SwiGlu7
        | Op::Gelu7
        | Op::GeluTanh
        | Op::Silu
        | Op::Relu
        | Op::Clamp { .. }
        | Op::Mul => activation::activation(site),
        Op::Add => combine::add(site),
        Op::Combine => combine::combine(site),
        Op::Copy => copy::copy(site),
        Op::Embed { scale } => embed::embed(site, *scale),
        Op::Patchify(grid) => patch::patchify(site, *grid),
        Op::Unpatchify(grid) => patch::unpatchify(site, *grid),
        Op::L2Norm { eps } => l2_norm::l2_norm(site, *eps),
        Op::Snake => channel::snake(site),
        Op::Affine => channel::affine(site),
        Op::Conv3d(conv) if conv.depthwise => depthwise::depthwise(site, *conv),
        Op::Conv3d(conv) => conv3d::conv3d(site, *conv),
        Op::Conv1d(conv) => conv::conv1d(site, *conv),
        Op::ConvTranspose1d { stride } => conv::conv_transpose1d(site, *stride),
        Op::WeightNorm => weight_norm::weight_norm(site),
        Op::UpsampleNearest
        | Op::PixelShuffle(_)
        | Op::PixelUnshuffle(_)
        | Op::FrameShuffle
        | Op::Bytes
        | Op::AverageDown { .. }
        | Op::DuplicateUp { .. } => pixels::pixels(site),
    }
}

/// An element type as plans and kernels both have it.
pub(super) trait Element {
    /// The plan's name for it.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}

impl Element for u8 {
    const DTYPE: DType = DType::U8;
}

impl Element for E4m3 {
    const DTYPE: DType = DType::E4m3;
}

impl Element for i32 {
    const DTYPE: DType = DType::I32;
}

impl View {
    /// Its elements, to be read.
    ///
    /// # Panics
    /// If they are of another type.
    fn dev<T: Element>(self) -> Dev<T> {
        assert_eq!(self.dtype, T::DTYPE, "element type of a kernel's argument");
        Dev::new(self.address)
    }

    /// Its elements, to be written.
    ///
    /// # Panics
    /// If they are of another type.
    fn dev_mut<T: Element>(self) -> DevMut<T> {
        assert_eq!(self.dtype, T::DTYPE, "element type of a kernel's argument");
        DevMut::new(self.address)
    }

    /// Whether eight elements from any multiple of 8 columns on can be moved by 16-byte instructions.
    fn is_aligned(self) -> bool {
        self.address.is_multiple_of(16) && self.pitch.is_multiple_of(8)
    }
}

impl Site<'_> {
    /// That the views start where vectors of 16 bytes can be read.
    ///
    /// # Errors
    /// A refusal.
    fn check_aligned(&self, views: &[View]) -> Result<()> {
        if views.iter().all(|view| view.is_aligned()) {
            return Ok(());
        }
        Err(self.refusal("a part of a buffer starts at no multiple of 16 bytes"))
    }

    /// What the second step, a sum, adds to the result of the first.
    fn summand(&self) -> View {
        let others = |buf: &&Buf| **buf != self.steps[0].writes;
        let other = self.steps[1].reads.iter().find(others);
        self.view(*other.expect("a result is one argument of its sum"))
    }

    /// That no kernel takes these types.
    fn types(&self) -> Error {
        self.refusal("there is no kernel for these types")
    }

    /// Group ends as kernels read them.
    fn ends(&mut self, ends: &[usize]) -> Result<Dev<i32>> {
        let ends: Vec<i32> = ends.iter().map(|&end| int(end)).collect::<Result<_>>()?;
        Ok(self.table(&ends))
    }

    /// Frames, height, width and channels of a video.
    ///
    /// # Errors
    /// A refusal of a buffer seen as rows and columns.
    fn video(&self, buf: Buf) -> Result<[usize; 4]> {
        let extents = self.shape(buf).extents().try_into();
        extents.map_err(|_| self.refusal("a part of a video is not one"))
    }

    /// Frames, rows and columns under a stored kernel `[out, in, (frames,) rows, columns]`.
    ///
    /// # Errors
    /// A refusal of other shapes.
    fn kernel_extents(&self, buf: Buf) -> Result<[usize; 3]> {
        match *self.shape(buf).extents() {
            [_, _, rows, cols] => Ok([1, rows, cols]),
            [_, _, frames, rows, cols] => Ok([frames, rows, cols]),
            _ => Err(self.refusal("the weight is no kernel")),
        }
    }

    /// Elements from one value to the next of a vector, stored as a row or as a column.
    ///
    /// # Errors
    /// A refusal of a matrix.
    fn step_of(&self, vector: View) -> Result<usize> {
        match (vector.rows, vector.cols) {
            (1, _) => Ok(1),
            (_, 1) => Ok(vector.pitch),
            _ => Err(self.refusal("a vector has one row or one column")),
        }
    }

    /// The f32 weight `buf` of a norm, one row of `width` for each of `groups`, without gaps.
    fn gains(&self, buf: Option<&Buf>, groups: usize, width: usize) -> Result<Dev<f32>> {
        let Some(&buf) = buf else {
            return Err(self.refusal("there is no kernel without a weight"));
        };
        let view = self.view(buf);
        if view.dtype != DType::F32 || view.rows != 1 || view.cols != groups * width {
            return Err(self.refusal("the weight must be f32, in one row"));
        }
        Ok(view.dev())
    }
}

pub(super) use super::lower::int;

/// Blocks of `threads` where every thread has eight columns of a row.
///
/// # Errors
/// [`Error::Device`] for more than 2^31 threads.
fn chunk_blocks(rows: usize, cols: usize, threads: usize) -> Result<[u32; 3]> {
    let chunks = int(rows * cols.div_ceil(8))?;
    Ok([
        blocks((chunks.unsigned_abs() as usize).div_ceil(threads))?,
        1,
        1,
    ])
}
