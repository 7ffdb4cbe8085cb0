//! `synthetic.cu`: generates weights from a rule on the device.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::kernels::synthetic::{SYNTHETIC, SyntheticArgs, THREADS},
        lowering::{BoundLaunch, DeviceView, chunk_blocks, int},
    },
    weights::{Rule, synthetic::key_from},
};

/// Fills rows of a weight, from the tensor's row `row` on, by its key and rule, padded with zeros to the pitch; `None` if
/// no kernel generates it.
pub(in crate::cuda) fn fill(
    to: DeviceView,
    row: usize,
    (key, rule): (u64, Rule),
) -> Result<Option<BoundLaunch>> {
    let Rule::Uniform {
        offset,
        scale,
        dtype,
    } = rule
    else {
        return Ok(None);
    };
    assert!(to.is_aligned(), "an unaligned weight");
    let key = key_from(key, (row * to.cols) as u64);
    let grid = chunk_blocks(to.rows, to.pitch, THREADS)?;
    if !matches!((dtype, to.dtype), (Bf16 | F32, Bf16) | (F32, F32)) {
        return Ok(None);
    }
    let args = SyntheticArgs {
        y: to.into(),
        key: key.cast_signed(),
        offset,
        scale,
        rows: int(to.rows)?,
        cols: int(to.cols)?,
        pitch: int(to.pitch)?,
    };
    // SAFETY: the view has that many rows of `pitch` elements, and the grid covers them.
    unsafe { BoundLaunch::one_of(SYNTHETIC, &args, grid) }
}
