//! `gate.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::kernels::gate::{SigmoidGateBf16, THREADS},
        lowering::{BoundLaunch, LowerCx, chunk_blocks, int},
    },
};

/// Op::SigmoidGate.
pub(in crate::cuda) fn sigmoid_gate(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (x, gate, y) = (cx.read(0), cx.read(1), cx.write());
    let head = x.cols / gate.cols;
    if !head.is_multiple_of(8) {
        return Err(cx.refusal("a head must be a multiple of 8 columns"));
    }
    if [x, gate, y].iter().any(|view| view.dtype != Bf16) {
        return Err(cx.types());
    }
    cx.check_aligned(&[x, y])?;
    let entry = SigmoidGateBf16 {
        y: y.dev_mut(),
        x: x.dev(),
        gate: gate.dev(),
        rows: int(x.rows)?,
        cols: int(x.cols)?,
        head: int(head)?,
        x_pitch: int(x.pitch)?,
        gate_pitch: int(gate.pitch)?,
        y_pitch: int(y.pitch)?,
    };
    let grid = chunk_blocks(x.rows, x.cols, THREADS)?;
    // SAFETY: x and y have the same rows and columns, `gate` as many rows and a column for each head; the grid covers x.
    unsafe { cx.launch(&entry, grid, 0) }
}
