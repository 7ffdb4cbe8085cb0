//! `weight_norm.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    DType::F32,
    Result,
    cuda::{
        gpu::kernels::weight_norm::WeightNormF32,
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
};

/// Op::WeightNorm in f32.
pub(in crate::cuda) fn weight_norm(cx: &LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let (v, g, w) = (cx.read(0), cx.read(1), cx.write());
    if [v, g, w].iter().any(|view| view.dtype != F32) {
        return Err(cx.types());
    }
    if v.pitch != w.pitch {
        return Err(cx.refusal("the result must be a whole buffer"));
    }
    let outer = g.rows * g.cols;
    let inner = v.rows / outer;
    int(inner * v.cols)?;
    let entry = WeightNormF32 {
        w: w.dev_mut(),
        v: v.dev(),
        g: g.dev(),
        inner: int(inner)?,
        cols: int(v.cols)?,
        pitch: int(v.pitch)?,
        g_step: int(cx.step_of(g)?)?,
    };
    // SAFETY: v and w have the same rows, columns and pitch, `inner` rows for each element of g, which are `g_step`
    // apart; the grid has a block for each of these.
    unsafe { cx.launch(&entry, [blocks(outer)?, 1, 1], 0) }
}
