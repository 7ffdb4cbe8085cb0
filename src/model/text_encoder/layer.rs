//! One layer: attention and MLP, each between two norms.

use super::config::{AttentionKind, TextEncoderConfig};
use crate::{
    DType::Bf16,
    plan::{Attention, Buf, Builder, Dense, MaskBlock, Norm, Op},
};

/// What all layers of one plan share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) config: &'a TextEncoderConfig,
    /// Input `[T, head_dim]`: [`super::rope_table`].
    pub(super) rope: Buf,
    /// Whether logits are capped.
    pub(super) softcap: bool,
}

/// `h + norm(attention(norm(h)))`, then `h + norm(mlp(norm(h)))`: each branch is normed again before it is added.
pub(super) fn layer(p: &mut Builder, h: Buf, kind: AttentionKind, shared: Shared<'_>) -> Buf {
    let config = shared.config;
    let x = norm(p, "pre_self_attn_layernorm", h, config);
    let x = p.scope("self_attn", |p| attention(p, x, kind, shared));
    let x = norm(p, "post_self_attn_layernorm", x, config);
    let h = p.add("attention_sum", h, x, Bf16);
    let x = norm(p, "pre_feedforward_layernorm", h, config);
    let x = p.scope("mlp", |p| mlp(p, x, config));
    let x = norm(p, "post_feedforward_layernorm", x, config);
    p.add("", h, x, Bf16)
}

/// Root-mean-square norm over rows, scaled by `1 + weight`.
pub(super) fn norm(p: &mut Builder, name: &str, x: Buf, config: &TextEncoderConfig) -> Buf {
    let rows = p.shape(x).rows();
    let norm = Norm::new(
        config.hidden_size,
        config.rms_norm_eps as f32,
        Some(Bf16),
        Bf16,
    );
    p.rms_norm(name, x, &[rows], norm)
}

fn attention(p: &mut Builder, x: Buf, kind: AttentionKind, shared: Shared<'_>) -> Buf {
    let config = shared.config;
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    let q = linear(p, "q_proj", x, heads * config.head_dim);
    let k = linear(p, "k_proj", x, kv_heads * config.head_dim);
    let v = linear(p, "v_proj", x, kv_heads * config.head_dim);
    let q = p.rope("q_rope", q, shared.rope, heads, Bf16);
    let k = p.rope("k_rope", k, shared.rope, kv_heads, Bf16);
    let op = Attention {
        heads,
        kv_heads,
        scale: config.query_pre_attn_scalar.sqrt().recip() as f32,
        softcap: config
            .attn_logit_softcapping
            .filter(|_| shared.softcap)
            .map(|cap| cap as f32),
        windows: windows(p.shape(q).rows(), kind, config.sliding_window),
    };
    let x = p.attention("context", [q, k, v], op, Bf16);
    linear(p, "o_proj", x, config.hidden_size)
}

fn mlp(p: &mut Builder, x: Buf, config: &TextEncoderConfig) -> Buf {
    let gate = linear(p, "gate_proj", x, config.intermediate_size);
    let up = linear(p, "up_proj", x, config.intermediate_size);
    let gate = p.map("act", Op::GeluTanh, gate, Bf16);
    let x = p.mul("gated", gate, up, Bf16);
    linear(p, "down_proj", x, config.hidden_size)
}

fn linear(p: &mut Builder, name: &str, x: Buf, rows: usize) -> Buf {
    let ends = [p.shape(x).rows()];
    let dense = Dense::new(rows, Bf16);
    p.linear(name, x, &ends, dense)
}

/// Mask blocks of `tokens` tokens: all of them, or those less than `width` away on both sides.
fn windows(tokens: usize, kind: AttentionKind, width: usize) -> Vec<MaskBlock> {
    let mut windows: Vec<MaskBlock> = Vec::new();
    for query in 0..tokens {
        let keys = match kind {
            AttentionKind::Full => 0..tokens,
            AttentionKind::Sliding => {
                query.saturating_sub(width - 1)..query.saturating_add(width).min(tokens)
            }
        };
        match windows.last_mut() {
            Some(last) if last.keys[0] == keys => last.queries.end = query + 1,
            _ => windows.push(MaskBlock {
                queries: query..query + 1,
                keys: vec![keys],
            }),
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sliding_token_sees_less_than_the_window_on_both_sides() {
        let all = |tokens: usize| {
            let whole = 0..tokens;
            vec![MaskBlock {
                queries: whole.clone(),
                keys: vec![whole],
            }]
        };
        assert_eq!(windows(5, AttentionKind::Full, 2), all(5));
        assert_eq!(windows(8, AttentionKind::Sliding, 8), all(8));
        assert_eq!(windows(3, AttentionKind::Sliding, usize::MAX), all(3));
        let windows = windows(29, AttentionKind::Sliding, 8);
        for (query, seen) in [(0, 0..8), (7, 0..15), (14, 7..22), (28, 21..29)] {
            let window = windows.iter().find(|w| w.queries.contains(&query));
            assert_eq!(window.unwrap().keys, vec![seen], "query {query}");
        }
    }
}
