//! `gemm_bf16.cu`: products of bf16, one block of weights for each group of rows.

#![allow(unsafe_code, reason = "vouches for launches")]

use super::gemm::{Product, Then};
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
            context::{Site, blocks, int},
            work::Sound,
        },
    },
};

/// Op::Linear of bf16 by bf16, without bias.
pub(in crate::cuda) fn linear(site: &mut Site<'_>, ends: &[usize]) -> Result<Vec<Sound>> {
    if site.steps[0].reads.len() > 2 {
        return Err(site.refusal("there is no bf16 product with a bias"));
    }
    if !takes(site) {
        return Err(site.types());
    }
    launch(site, ends, Then::Store)
}

/// Whether the first step is a product of bf16 by bf16, without bias.
pub(in crate::cuda) fn takes(site: &Site<'_>) -> bool {
    let reads = &site.steps[0].reads;
    reads.len() == 2 && reads.iter().all(|&buf| site.dtype(buf) == Bf16)
}

/// The product, and what becomes of it.
pub(in crate::cuda) fn launch(
    site: &mut Site<'_>,
    ends: &[usize],
    then: Then,
) -> Result<Vec<Sound>> {
    let product = Product::new(site, ends, Element::Bf16)?;
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
            unsafe { site.launch(&entry, product.grid, blocks(SMEM_BYTES)?) }
        }};
    }
    macro_rules! launch_boxes {
        ($entry:ident) => {
            launch!($entry, y_map: product.y_map(site, Element::Bf16)?, m: product.m)
        };
    }
    match (then, product.y.dtype) {
        (Then::Store, Bf16) => launch_boxes!(GemmBf16),
        (Then::Store, F32) => launch!(GemmBf16F32),
        (Then::SwiGlu7(None), Bf16) => launch_boxes!(GemmBf16Swiglu7),
        (Then::Gelu7(None), Bf16) => launch_boxes!(GemmBf16Gelu7),
        (Then::Add(z), F32) => launch!(GemmBf16Add, z: z.dev(), z_pitch: int(z.pitch)?),
        _ => Err(site.types()),
    }
}
