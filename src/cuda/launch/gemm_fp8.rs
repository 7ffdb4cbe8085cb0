//! `gemm_fp8.cu`: products of FP8 numbers with scales, one block of weights for each group of rows.

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
                    GemmFp8, GemmFp8Add, GemmFp8F32, GemmFp8Gelu7, GemmFp8Gelu7E4m3,
                    GemmFp8Swiglu7, GemmFp8Swiglu7E4m3,
                },
            },
            tensor_map::Element,
        },
        lowering::{
            context::{LowerCx, blocks, int},
            work::BoundLaunch,
        },
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

/// [Op::Linear, Op::SwiGlu7 or Op::Gelu7], the same with Op::Quantize behind, and [Op::Linear, Op::Add].
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    match (&cx.steps[0].op, epilogue(cx)) {
        (Op::Linear { ends, scaling }, Some(epilogue)) if takes(cx) => {
            launch(cx, (ends, *scaling), epilogue).map(Some)
        }
        _ => Ok(None),
    }
}

/// Whether the first step is a product of E4m3 by E4m3 with scales in f32, those of the weight's rows in one row.
fn takes(cx: &LowerCx<'_>) -> bool {
    let reads = &cx.steps[0].reads;
    let types: Vec<DType> = reads.iter().map(|&buf| cx.dtype(buf)).collect();
    matches!(types[..], [E4m3, E4m3, F32] | [E4m3, E4m3, F32, F32])
        && cx.read(reads.len() - 1).rows == 1
}

/// The product, and what becomes of it.
fn launch(
    cx: &mut LowerCx<'_>,
    (ends, scaling): (&[usize], Scaling),
    epilogue: Epilogue,
) -> Result<Vec<BoundLaunch>> {
    let product = GemmArguments::new(cx, ends, Element::Byte)?;
    let (s, s_step, scale, ws) = match scaling {
        Scaling::Rows => {
            let s = cx.read(2);
            (s.dev(), int(cx.step_of(s)?)?, 1.0, cx.read(3))
        }
        Scaling::Fixed(factor) => (Dev::new(0), 0, 1.0 / factor, cx.read(2)),
        Scaling::None => return Err(cx.types()),
    };
    macro_rules! launch {
        ($entry:ident $(, $name:ident: $value:expr)*) => {{
            let entry = $entry {
                $($name: $value,)*
                y: product.y.dev_mut(),
                x_map: product.x_map,
                w_map: product.w_map,
                s,
                s_step,
                scale,
                ws: ws.dev(),
                tiles: product.tiles,
                num_tiles: product.num_tiles,
                n: product.n,
                k: product.k,
                y_pitch: product.y_pitch,
            };
            // SAFETY: the maps are of x [m, k], w [groups * n, k] and y with the kernel's boxes, and neither read nor write
            // beyond them; the tiles cover y, each inside one group, whose weight rows it names; s has an entry for each
            // row of x and ws for each row of w; what is stored from registers lies inside the tile's group and the
            // columns of y, and z has the shape of y.
            unsafe { cx.launch(&entry, product.grid, blocks(SMEM_BYTES)?) }
        }};
    }
    macro_rules! launch_boxes {
        ($entry:ident, $element:ident $(, $name:ident: $value:expr)*) => {
            launch!(
                $entry,
                y_map: product.y_map(cx, Element::$element)?,
                m: product.m
                $(, $name: $value)*
            )
        };
    }
    match (epilogue, product.y.dtype) {
        (Epilogue::Store, Bf16) => launch_boxes!(GemmFp8, Bf16),
        (Epilogue::Store, F32) => launch!(GemmFp8F32),
        (Epilogue::SwiGlu7(None), Bf16) => launch_boxes!(GemmFp8Swiglu7, Bf16),
        (Epilogue::Gelu7(None), Bf16) => launch_boxes!(GemmFp8Gelu7, Bf16),
        (Epilogue::SwiGlu7(Some(f)), E4m3) => launch_boxes!(GemmFp8Swiglu7E4m3, Byte, f: f),
        (Epilogue::Gelu7(Some(f)), E4m3) => launch_boxes!(GemmFp8Gelu7E4m3, Byte, f: f),
        (Epilogue::Add(z), F32) => launch!(GemmFp8Add, z: z.dev(), z_pitch: int(z.pitch)?),
        _ => Err(cx.types()),
    }
}
