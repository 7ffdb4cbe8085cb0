//! `conformance_wgmma.cu`: one small GEMM by each wgmma instruction.

#![allow(unsafe_code, reason = "launches kernels")]

use std::fmt;

use super::host::{download, int, poisoned, run, upload};
use crate::{
    Error, Result,
    cuda::gpu::{
        device::{Device, Memory},
        kernels::conformance,
        kernels::conformance_wgmma::{
            B_AT, ProductBf16Nn, ProductBf16Nt, ProductBf16Rn, ProductBf16Rt, ProductBf16Tn,
            ProductBf16Tt, ProductE4m3Nn, ProductE4m3Rn, SMEM_BYTES, STEPS,
        },
        tensor_map::{Element, Swizzle, TensorMap, TensorMapSpec},
    },
};

/// Bytes along K of one instruction.
const STEP_BYTES: usize = 32;
/// Rows of A and of every result.
const ROWS: usize = 64;

// Shared by all launches here.
const _: () = assert!(conformance::SMEM_BYTES == SMEM_BYTES);

/// Kind of wgmma, by its operands: A, then B.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WgmmaOperands {
    /// bf16; A from registers or shared memory, each operand K-major or not.
    Bf16 {
        /// A from registers.
        registers: bool,
        /// A is M-major instead of K-major.
        a_transposed: bool,
        /// B is N-major instead of K-major.
        b_transposed: bool,
    },
    /// e4m3, always K-major.
    E4m3 {
        /// A from registers.
        registers: bool,
    },
}

impl WgmmaOperands {
    /// Bytes of an element.
    fn size(self) -> usize {
        match self {
            Self::Bf16 { .. } => 2,
            Self::E4m3 { .. } => 1,
        }
    }

    /// K of the GEMM in elements.
    pub fn k(self) -> usize {
        STEPS * STEP_BYTES / self.size()
    }

    /// Whether A comes from registers.
    fn a_in_registers(self) -> bool {
        match self {
            Self::Bf16 { registers, .. } | Self::E4m3 { registers } => registers,
        }
    }

    /// Whether A, and B, are transposed: M- or N-major instead of K-major.
    pub fn transposed(self) -> [bool; 2] {
        match self {
            Self::Bf16 {
                a_transposed,
                b_transposed,
                ..
            } => [a_transposed, b_transposed],
            Self::E4m3 { .. } => [false; 2],
        }
    }
}

impl fmt::Display for WgmmaOperands {
    /// `bf16_nt`: n for a K-major operand, t for a transposed one, r for registers; A, then B.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.transposed().map(|along| if along { "t" } else { "n" });
        let a = if self.a_in_registers() { "r" } else { a };
        let of = if self.size() == 2 { "bf16" } else { "e4m3" };
        write!(f, "{of}_{a}{b}")
    }
}

/// One operand, `[rows, k]`.
#[derive(Clone, Copy, Debug)]
struct Operand {
    size: usize,
    rows: usize,
    k: usize,
    transposed: bool,
    /// Bytes that the swizzle permutes; 16 without.
    span: usize,
}

impl Operand {
    /// The extents in memory, innermost first.
    fn extents(self) -> [usize; 2] {
        if self.transposed {
            [self.rows, self.k]
        } else {
            [self.k, self.rows]
        }
    }

    /// `Layout` of the kernel file: boxes of one span by the whole outer extent.
    fn layout(self) -> Result<Vec<i32>> {
        let [inner, outer] = self.extents();
        let (span, box_bytes) = (self.span, outer * self.span);
        // Without swizzle only K-major operands are tried, and spans must divide the innermost extent.
        let known = matches!(span, 32 | 64 | 128) || (span == 16 && !self.transposed);
        if !known || !(inner * self.size).is_multiple_of(span) {
            return Err(Error::device(format!("{self:?} cannot be tried")));
        }
        let offset = |step: usize| {
            if self.transposed {
                step * STEP_BYTES / self.size * span
            } else {
                let byte = step * STEP_BYTES;
                byte / span * box_bytes + byte % span
            }
        };
        let box_cols = span / self.size;
        let swizzle = match span {
            16 => 0,
            32 => 3,
            64 => 2,
            _ => 1,
        };
        let head = [
            inner / box_cols,
            box_cols,
            box_bytes,
            box_bytes,
            8 * span,
            swizzle,
        ];
        Ok(head
            .into_iter()
            .chain((0..STEPS).map(offset))
            .map(int)
            .collect())
    }

    fn map(self, device: &dyn Device, memory: &Memory) -> Result<TensorMap> {
        let [inner, outer] = self.extents();
        let element = if self.size == 2 {
            Element::Bf16
        } else {
            Element::Byte
        };
        device.tensor_map(&TensorMapSpec {
            swizzle: match self.span {
                16 => Swizzle::None,
                32 => Swizzle::Bytes32,
                64 => Swizzle::Bytes64,
                _ => Swizzle::Bytes128,
            },
            ..TensorMapSpec::matrix(
                memory.start(),
                element,
                [outer as u64, inner as u64],
                inner as u64,
                [outer as u32, (self.span / self.size) as u32],
            )
        })
    }
}

/// y `[64, n]` = A Bᵀ. `bytes` holds A `[64, k]` and B `[n, k]` in their layouts, `spans` the bytes that their swizzles
/// permute.
///
/// # Errors
/// [`crate::Error::Device`] for an operand that has no such layout, or if the device fails.
pub fn gemm(
    device: &dyn Device,
    what: WgmmaOperands,
    n: usize,
    bytes: [&[u8]; 2],
    spans: [usize; 2],
) -> Result<Vec<f32>> {
    let operand = |i: usize, rows: usize| Operand {
        size: what.size(),
        rows,
        k: what.k(),
        transposed: what.transposed()[i],
        span: spans[i],
    };
    let operands = [operand(0, ROWS), operand(1, n)];
    let right = operands
        .iter()
        .zip(bytes)
        .all(|(of, bytes)| of.rows * of.k * of.size == bytes.len());
    if !right || n > 256 || bytes.iter().any(|bytes| bytes.len() > B_AT) {
        return Err(Error::device(format!(
            "{what:?} for {n} columns cannot be tried"
        )));
    }
    let layouts = [operands[0].layout()?, operands[1].layout()?].concat();
    let layouts_at = upload(device, bytemuck::cast_slice(&layouts))?;
    let (a_at, b_at) = (upload(device, bytes[0])?, upload(device, bytes[1])?);
    let y_at = poisoned(device, ROWS * n * 4)?;
    let a = operands[0].map(device, &a_at)?;
    let b = operands[1].map(device, &b_at)?;
    let y = y_at.dev_mut(0, ROWS * n);
    let layouts = layouts_at.dev(0, layouts.len());
    let a_rows = a_at.dev(0, bytes[0].len());
    let n = int(n);
    macro_rules! run {
        ($entry:ident $(, $a_rows:ident)?) => {{
            let entry = $entry { y, $($a_rows,)? a, b, layouts, n };
            // SAFETY: both operands are as large as the layouts say, which were made for them, and fit into their halves
            // of shared memory; y has a row of n for each of 64.
            unsafe { run(device, &entry) }
        }};
    }
    match (what, what.a_in_registers(), what.transposed()) {
        (WgmmaOperands::E4m3 { .. }, false, _) => run!(ProductE4m3Nn),
        (WgmmaOperands::E4m3 { .. }, true, _) => run!(ProductE4m3Rn, a_rows),
        (_, false, [false, false]) => run!(ProductBf16Nn),
        (_, false, [false, true]) => run!(ProductBf16Nt),
        (_, false, [true, false]) => run!(ProductBf16Tn),
        (_, false, [true, true]) => run!(ProductBf16Tt),
        (_, true, [_, false]) => run!(ProductBf16Rn, a_rows),
        (_, true, [_, true]) => run!(ProductBf16Rt, a_rows),
    }?;
    download(device, &y_at)
}
