//! `gemm_bf16.cu`: grouped GEMMs in bf16, with weights of its own for each group of rows.

#![allow(unsafe_code, reason = "vouches for launches")]

use super::gemm::{Epilogue, GemmArguments, epilogue};
use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            kernels::{
                gemm::SMEM_BYTES,
                gemm_bf16::{
                    GEMM_BF16, GEMM_BF16_GELU7, GEMM_BF16_SWIGLU7, GemmBf16Add, GemmBf16F32,
                    StoredArgs,
                },
            },
            tensor_map::Element,
        },
        lowering::{BoundLaunch, LowerCx, blocks},
    },
    plan::Op,
};

/// Op::Linear with bf16 weights; other kernels take the other types.
pub(in crate::cuda) fn linear(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Op::Linear { ends, .. } = &cx.steps[0].op else {
        return Ok(None);
    };
    if cx.read(1).dtype != Bf16 {
        return Ok(None);
    }
    if cx.steps[0].reads.len() > 2 {
        return Err(cx.refusal("there is no bf16 GEMM with a bias"));
    }
    if !takes(cx) {
        return Err(cx.types());
    }
    launch(cx, ends, Epilogue::Store).map(Some)
}

/// [Op::Linear, Op::SwiGlu7 or Op::Gelu7] and [Op::Linear, Op::Add].
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    match (&cx.steps[0].op, epilogue(cx)) {
        (Op::Linear { ends, .. }, Some(epilogue)) if takes(cx) => {
            launch(cx, ends, epilogue).map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether the first step is a GEMM of bf16 by bf16, without bias.
fn takes(cx: &LowerCx<'_>) -> bool {
    let reads = &cx.steps[0].reads;
    reads.len() == 2 && reads.iter().all(|&buf| cx.dtype(buf) == Bf16)
}

/// The GEMM with its epilogue.
fn launch(cx: &mut LowerCx<'_>, ends: &[usize], epilogue: Epilogue) -> Result<Vec<BoundLaunch>> {
    let gemm = GemmArguments::new(cx, ends, Element::Bf16, epilogue)?;
    let shared = blocks(SMEM_BYTES)?;
    macro_rules! args {
        ($args:ident $(, $name:ident: $value:expr)*) => {
            $args {
                $($name: $value,)*
                y: gemm.y.dev_mut(),
                x_map: gemm.x_map,
                w_map: gemm.w_map,
                tiles: gemm.tiles,
                shape: gemm.shape,
            }
        };
    }
    let all = match (epilogue, gemm.y.dtype) {
        (Epilogue::Store, Bf16) => GEMM_BF16,
        (Epilogue::SwiGlu7(None), Bf16) => GEMM_BF16_SWIGLU7,
        (Epilogue::Gelu7(None), Bf16) => GEMM_BF16_GELU7,
        // SAFETY: as below.
        (Epilogue::Store, F32) => unsafe {
            return cx.launch(&args!(GemmBf16F32), gemm.grid, shared);
        },
        // SAFETY: as below, and z has the shape of y.
        (Epilogue::Add(z), F32) => unsafe {
            return cx.launch(&args!(GemmBf16Add, z: z.dev()), gemm.grid, shared);
        },
        _ => return Err(cx.types()),
    };
    let args = args!(StoredArgs, y_map: gemm.y_map(cx, Element::Bf16)?);
    // SAFETY: the maps are of x [m, k], w [groups * n, k] and y with the kernel's boxes, and neither read nor write
    // beyond them; the tiles cover y, each inside one group, whose weight rows it names; what is stored from registers
    // lies inside the tile's group and the columns of y.
    unsafe { cx.launch_one_of(all, &args, gemm.grid, shared) }
}
