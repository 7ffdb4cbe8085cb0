//! `attention.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use std::f32::consts::LOG2_E;

use crate::{
    DType::Bf16,
    Result,
    cuda::{
        gpu::{
            arguments::Dev,
            kernels::attention::{
                AttentionBf16, BOX_COLS, HEAD, RANGES, SMEM_BYTES, TILE_K, TILE_Q,
            },
            tensor_map::{Element, TensorMap, TensorMapSpec},
        },
        lowering::{
            BoundLaunch, DeviceView, LowerCx, attention_tiles::attention_tiles, blocks, int,
        },
    },
    plan::{Attention, Op},
};

/// Op::Attention of bf16 heads of 128 over up to three key ranges.
pub(in crate::cuda) fn attention(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    is_ours(cx).then(|| launch(cx, None)).transpose()
}

/// [Op::Attention, Op::SigmoidGate].
pub(in crate::cuda) fn fused(cx: &mut LowerCx<'_>) -> Result<Option<Vec<BoundLaunch>>> {
    let gate = cx.view(cx.steps[1].reads[1]);
    let inner = cx.dtype(cx.steps[0].writes);
    if !is_ours(cx) || (gate.dtype, gate.cols, inner) != (Bf16, op(cx).heads, Bf16) {
        return Ok(None);
    }
    launch(cx, Some(gate)).map(Some)
}

fn op<'a>(cx: &LowerCx<'a>) -> &'a Attention {
    match &cx.steps[0].op {
        Op::Attention(op) => op,
        other => panic!("attention lowering called with {}", other.name()),
    }
}

/// Whether the kernel takes these shapes and types.
fn is_ours(cx: &LowerCx<'_>) -> bool {
    let op = op(cx);
    let views = [cx.read(0), cx.read(1), cx.read(2), cx.write()];
    views
        .iter()
        .all(|view| view.dtype == Bf16 && view.is_aligned())
        && views[0].cols == op.heads * HEAD
        && op.softcap.is_none()
        && op.windows.iter().all(|window| window.keys.len() <= RANGES)
}

fn launch(cx: &mut LowerCx<'_>, gate: Option<DeviceView>) -> Result<Vec<BoundLaunch>> {
    let op = op(cx);
    let (q, k, v, y) = (cx.read(0), cx.read(1), cx.read(2), cx.write());
    let tiles = attention_tiles(&op.windows, op.heads, op.kv_heads)?;
    let grid = blocks(tiles.len())?.min(cx.device().num_sms());
    let entry = AttentionBf16 {
        y: y.dev_mut(),
        q_map: map(cx, q, TILE_Q)?,
        k_map: map(cx, k, TILE_K)?,
        v_map: map(cx, v, TILE_K)?,
        gate: gate.map_or(Dev::new(0), |gate| gate.dev()),
        num_tiles: int(tiles.len())?,
        scale: op.scale * LOG2_E,
        y_pitch: int(y.pitch)?,
        gate_pitch: int(gate.map_or(0, |gate| gate.pitch))?,
        tiles: cx.metadata(&tiles),
    };
    // SAFETY: the maps are of q [n, heads * 128], k and v [m, kv_heads * 128] with the kernel's boxes, and read nothing
    // beyond them: keys behind a range are another token's or zero, so they are finite; the tiles name rows, heads and
    // keys of these; y has the rows and columns of q, and a gate those rows and a column for each head.
    unsafe { cx.launch(&entry, [grid, 1, 1], blocks(SMEM_BYTES)?) }
}

fn map(cx: &LowerCx<'_>, view: DeviceView, box_rows: usize) -> Result<TensorMap> {
    cx.map(&TensorMapSpec::matrix(
        view.address,
        Element::Bf16,
        [view.rows as u64, view.cols as u64],
        view.pitch as u64,
        [blocks(box_rows)?, blocks(BOX_COLS)?],
    ))
}
