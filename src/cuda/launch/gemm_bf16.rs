//! `gemm_bf16.cu`: products of bf16, one block of weights for each group of rows.

#![allow(unsafe_code, reason = "vouches for launches")]

use super::gemm::{Epilogue, GemmArguments, epilogue};
use crate::{
    DType::{Bf16, F32},
    Result,
    cuda::{
        gpu::{
            kernels::{
                gemm::SMEM_BYTES,
                gemm_bf16::{GemmBf16, GemmBf16Add, GemmBf16F32, GemmBf16Gelu7, GemmBf16Swiglu7},
            },
            tensor_map::Element,
        },
        lowering::{
            context::{LowerCx, blocks, int},
            work::BoundLaunch,
        },
    },
    plan::Op,
};

/// Op::Linear by weights of bf16; those of another type are another kernel's.
pub(in crate::cuda) fn linear(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let Op::Linear { ends, .. } = &cx.steps[0].op else {
        return Ok(None);
    };
    if cx.read(1).dtype != Bf16 {
        return Ok(None);
    }
    if cx.steps[0].reads.len() > 2 {
        return Err(cx.refusal("there is no bf16 product with a bias"));
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

/// Whether the first step is a product of bf16 by bf16, without bias.
fn takes(cx: &LowerCx<'_>) -> bool {
    let reads = &cx.steps[0].reads;
    reads.len() == 2 && reads.iter().all(|&buf| cx.dtype(buf) == Bf16)
}

/// The product, and what becomes of it.
fn launch(cx: &mut LowerCx<'_>, ends: &[usize], epilogue: Epilogue) -> Result<Vec<BoundLaunch>> {
    let product = GemmArguments::new(cx, ends, Element::Bf16)?;
    macro_rules! launch {
        ($entry:ident $(, $name:ident: $value:expr)*) => {{
            let entry = $entry {
                $($name: $value,)*
                y: product.y.dev_mut(),
                x_map: product.x_map,
                w_map: product.w_map,
                tiles: product.tiles,
                num_tiles: product.num_tiles,
                n: product.n,
                k: product.k,
                y_pitch: product.y_pitch,
            };
            // SAFETY: the maps are of x [m, k], w [groups * n, k] and y with the kernel's boxes, and neither read nor write
            // beyond them; the tiles cover y, each inside one group, whose weight rows it names; what is stored from
            // registers lies inside the tile's group and the columns of y, and z has the shape of y.
            unsafe { cx.launch(&entry, product.grid, blocks(SMEM_BYTES)?) }
        }};
    }
    macro_rules! launch_boxes {
        ($entry:ident) => {
            launch!($entry, y_map: product.y_map(cx, Element::Bf16)?, m: product.m)
        };
    }
    match (epilogue, product.y.dtype) {
        (Epilogue::Store, Bf16) => launch_boxes!(GemmBf16),
        (Epilogue::Store, F32) => launch!(GemmBf16F32),
        (Epilogue::SwiGlu7(None), Bf16) => launch_boxes!(GemmBf16Swiglu7),
        (Epilogue::Gelu7(None), Bf16) => launch_boxes!(GemmBf16Gelu7),
        (Epilogue::Add(z), F32) => launch!(GemmBf16Add, z: z.dev(), z_pitch: int(z.pitch)?),
        _ => Err(cx.types()),
    }
}
