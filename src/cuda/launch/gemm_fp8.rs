//! `gemm_fp8.cu`: grouped GEMMs in FP8 with scales, with weights of its own for each group of rows.

#![allow(unsafe_code, reason = "vouches for launches")]

use super::gemm::{Epilogue, GemmArguments, epilogue};
use crate::{
    DType::{self, Bf16, E4m3, F32},
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::{
                gemm::SMEM_BYTES,
                gemm_fp8::{
                    GEMM_FP8, GEMM_FP8_GELU7, GEMM_FP8_SWIGLU7, GemmFp8Add, GemmFp8F32, StoredArgs,
                },
            },
            params::RowScales,
            tensor_map::Element,
        },
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
    plan::{Op, Scaling},
};

/// Op::Linear of E4m3 by E4m3.
pub(in crate::cuda) fn linear(
    cx: &mut LowerCx<'_>,
    ends: &[usize],
    scaling: Scaling,
) -> Result<Vec<BoundLaunch>> {
    if !takes(cx) {
        return Err(cx.types());
    }
    launch(cx, (ends, scaling), Epilogue::Store)
}

/// [Op::Linear, Op::SwiGlu7 or Op::Gelu7], the same followed by Op::Quantize, and [Op::Linear, Op::Add].
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    match (&cx.steps[0].op, epilogue(cx)) {
        (Op::Linear { ends, scaling }, Some(epilogue)) if takes(cx) => {
            launch(cx, (ends, *scaling), epilogue).map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether the first step is a GEMM of E4m3 by E4m3 with scales in f32, those of the weight in one row.
fn takes(cx: &LowerCx<'_>) -> bool {
    let reads = &cx.steps[0].reads;
    let types: Vec<DType> = reads.iter().map(|&buf| cx.dtype(buf)).collect();
    matches!(types[..], [E4m3, E4m3, F32] | [E4m3, E4m3, F32, F32])
        && cx.read(reads.len() - 1).rows == 1
}

/// The GEMM with its epilogue.
fn launch(
    cx: &mut LowerCx<'_>,
    (ends, scaling): (&[usize], Scaling),
    epilogue: Epilogue,
) -> Result<Vec<BoundLaunch>> {
    let gemm = GemmArguments::new(cx, ends, Element::Byte, epilogue)?;
    let (s, step, all, ws) = match scaling {
        Scaling::Rows => {
            let s = cx.read(2);
            (s.dev(), int(cx.step_of(s)?)?, 1.0, cx.read(3))
        }
        Scaling::Fixed(factor) => (Dev::new(0), 0, 1.0 / factor, cx.read(2)),
        Scaling::None => return Err(cx.types()),
    };
    let scales = RowScales { step, all };
    let shared = blocks(SMEM_BYTES)?;
    macro_rules! args {
        ($args:ident, y: $y:expr $(, $name:ident: $value:expr)*) => {
            $args {
                $($name: $value,)*
                y: $y,
                x_map: gemm.x_map,
                w_map: gemm.w_map,
                s,
                scales,
                ws: ws.dev(),
                tiles: gemm.tiles,
                shape: gemm.shape,
            }
        };
    }
    let y = gemm.y;
    let all = match (epilogue, y.dtype) {
        (Epilogue::Store, Bf16) => GEMM_FP8,
        (Epilogue::SwiGlu7(None), Bf16) | (Epilogue::SwiGlu7(Some(_)), E4m3) => GEMM_FP8_SWIGLU7,
        (Epilogue::Gelu7(None), Bf16) | (Epilogue::Gelu7(Some(_)), E4m3) => GEMM_FP8_GELU7,
        // SAFETY: as below.
        (Epilogue::Store, F32) => unsafe {
            return cx.launch(&args!(GemmFp8F32, y: y.dev_mut()), gemm.grid, shared);
        },
        // SAFETY: as below, and z has the shape of y.
        (Epilogue::Add(z), F32) => unsafe {
            let args = args!(GemmFp8Add, y: y.dev_mut(), z: z.dev());
            return cx.launch(&args, gemm.grid, shared);
        },
        _ => return Err(cx.types()),
    };
    let element = if y.dtype == E4m3 {
        Element::Byte
    } else {
        Element::Bf16
    };
    let args = args!(StoredArgs, y: y.into(), y_map: gemm.y_map(cx, element)?);
    // SAFETY: the maps are of x [m, k], w [groups * n, k] and y with the kernel's boxes, and neither read nor write
    // beyond them; the tiles cover y, each inside one group, whose weight rows it names; s has an entry for each row of
    // x and ws for each row of w; what is stored from registers lies inside the tile's group and the columns of y.
    unsafe { cx.launch_one_of(all, &args, gemm.grid, shared) }
}
