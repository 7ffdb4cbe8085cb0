//! `add_rms_norm.cu`: a sum that stays, and the norm of its rows.

#![allow(unsafe_code, reason = "vouches for launches")]

use super::{Sound, blocks, int};
use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        kernels::add_rms_norm::{AddRmsNormBf16, AddRmsNormF32, ROW_COLS},
        lower::Site,
    },
    plan::Op,
};

/// [Op::Add, Op::RmsNorm] of whole rows: an f32 stream, what is added to it, and its norm in bf16.
pub(in crate::cuda) fn fused(site: &mut Site<'_>) -> Result<Option<Vec<Sound>>> {
    let Op::RmsNorm {
        eps, width, ends, ..
    } = &site.steps[1].op
    else {
        panic!("a norm is the second step here");
    };
    let (x, z, y) = (site.read(0), site.read(1), site.write());
    let s = site.view(site.steps[0].writes);
    let views = [x, z, s, y];
    let fits = views.iter().all(|v| v.is_aligned() && v.pitch == x.pitch)
        && *width == x.cols
        && width.is_multiple_of(8)
        && *width <= ROW_COLS
        && (x.dtype, s.dtype, y.dtype) == (F32, F32, Bf16);
    if !fits {
        return Ok(None);
    }
    let Ok(w) = site.gains(site.steps[1].reads.get(1), ends.len(), *width) else {
        return Ok(None);
    };
    let (eps, ends) = (*eps, site.ends(ends)?);
    let grid = [blocks(x.rows)?, 1, 1];
    macro_rules! launch {
        ($entry:ident) => {{
            let entry = $entry {
                y: y.dev_mut(),
                s: s.dev_mut(),
                x: x.dev(),
                z: z.dev(),
                w,
                ends,
                cols: int(x.cols)?,
                pitch: int(x.pitch)?,
                eps,
            };
            // SAFETY: all four have the same rows, columns and pitch; w has a row for each of the groups that `ends`
            // lists, and the last of these ends with the rows; the grid has a block for each row.
            unsafe { site.launch(&entry, grid, 0) }.map(Some)
        }};
    }
    match z.dtype {
        Bf16 => launch!(AddRmsNormBf16),
        F32 => launch!(AddRmsNormF32),
        _ => Ok(None),
    }
}
