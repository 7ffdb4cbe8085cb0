//! One layer: gated grouped-query attention and an MLP around an f32 residual stream. Each result's type is where the
//! reference rounds. Reference: `model/dit/dit_module.py`, `TransFormerLayer`, `Attention`, `MLP`.

use super::{DitConfig, EPS, HEAD};
use crate::{
    DType::{Bf16, F32},
    plan::{Attention, Buf, Builder, Dense, MaskBlock, Norm, Op},
};

/// What every layer of a pass shares.
pub(super) struct Tokens<'a> {
    /// Group offsets: where the rows of video, audio and text end.
    pub(super) ends: [usize; 3],
    /// The rotation's table `[N, 96]`.
    pub(super) rope: Buf,
    /// Mask blocks of full attention.
    pub(super) full: &'a [MaskBlock],
    /// Mask blocks of local layers.
    pub(super) local: &'a [MaskBlock],
}

/// Layer `index` on the residual stream `x`.
pub(super) fn layer(
    p: &mut Builder,
    config: &DitConfig,
    index: usize,
    x: Buf,
    tokens: &Tokens<'_>,
) -> Buf {
    let all = [tokens.ends[2]];
    let ends: &[usize] = if config.is_per_modality(index) {
        &tokens.ends
    } else {
        &all
    };
    let has_post_norm = config.post_norm_layers.contains(&index);
    let is_local = config.local_attn_layers.contains(&index);
    let windows = if is_local { tokens.local } else { tokens.full };
    let hidden = Norm::new(config.hidden_size, EPS, Some(F32), Bf16);

    let mut attended = p.scope("attention", |p| {
        let normed = p.rms_norm("pre_norm", x, ends, hidden);
        attention(p, config, normed, ends, (tokens.rope, windows))
    });
    if has_post_norm {
        attended = p.rms_norm("attn_post_norm", attended, ends, hidden);
    }
    let x = p.add("attention_residual", x, attended, F32);
    let mut fed = p.scope("mlp", |p| {
        let normed = p.rms_norm("pre_norm", x, ends, hidden);
        mlp(p, config, index, normed, ends)
    });
    if has_post_norm {
        fed = p.rms_norm("mlp_post_norm", fed, ends, Norm { out: F32, ..hidden });
    }
    p.add("mlp_residual", x, fed, F32)
}

fn attention(
    p: &mut Builder,
    config: &DitConfig,
    x: Buf,
    ends: &[usize],
    (rope, windows): (Buf, &[MaskBlock]),
) -> Buf {
    let (heads, kv_heads) = (config.num_heads_q, config.num_heads_kv);
    let dense = |rows| Dense::new(rows, Bf16);
    let head_norm = Norm::new(HEAD, EPS, Some(F32), F32);

    let qkvg = p.linear("linear_qkv", x, ends, dense(config.qkv_rows()));
    let k_start = heads * HEAD;
    let v_start = (heads + kv_heads) * HEAD;
    let gate_start = (heads + 2 * kv_heads) * HEAD;
    let q = p.cols(qkvg, 0..k_start);
    let k = p.cols(qkvg, k_start..v_start);
    let v = p.cols(qkvg, v_start..gate_start);
    let gate = p.cols(qkvg, gate_start..gate_start + heads);

    let q = p.rms_norm("q_norm", q, ends, head_norm);
    let q = p.rope("q_rope", q, rope, heads, Bf16);
    let k = p.rms_norm("k_norm", k, ends, head_norm);
    let k = p.rope("k_rope", k, rope, kv_heads, Bf16);
    let scale = 1.0 / (HEAD as f32).sqrt();
    let op = Attention {
        heads,
        kv_heads,
        scale,
        softcap: None,
        windows: windows.to_vec(),
    };
    let core = p.attention("core", [q, k, v], op, Bf16);
    let gated = p.sigmoid_gate("gated", core, gate, Bf16);
    p.linear("linear_proj", gated, ends, dense(config.hidden_size))
}

fn mlp(p: &mut Builder, config: &DitConfig, index: usize, x: Buf, ends: &[usize]) -> Buf {
    let dense = |rows| Dense::new(rows, Bf16);
    let ffn = config.ffn(index);
    let activated = if config.is_gelu7(index) {
        let up = p.linear("up_gate_proj", x, ends, dense(ffn));
        p.map("activation", Op::Gelu7, up, Bf16)
    } else {
        let up = p.linear("up_gate_proj", x, ends, dense(2 * ffn));
        p.swiglu7("activation", up, Bf16)
    };
    p.linear("down_proj", activated, ends, dense(config.hidden_size))
}
