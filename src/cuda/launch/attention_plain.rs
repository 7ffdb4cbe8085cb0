//! `attention_plain.cu`.

#![allow(unsafe_code, reason = "vouches for launches")]

use crate::{
    Result,
    cuda::{
        gpu::{
            kernels::attention_plain::{ATTENTION_PLAIN, AttentionArgs, HEAD_MAX, ROWS},
            params::AttentionShape,
        },
        lowering::{BoundLaunch, LowerCx, blocks, int},
    },
    plan::{MaskBlock, Op},
};

/// Op::Attention of heads of any multiple of 8 columns over any mask, all of one type.
pub(in crate::cuda) fn attention(cx: &mut LowerCx<'_>) -> Result<Vec<BoundLaunch>> {
    let Op::Attention(op) = &cx.steps[0].op else {
        panic!("attention lowering called with {}", cx.steps[0].op.name());
    };
    let [q, k, v] = [0, 1, 2].map(|i| cx.read(i));
    let y = cx.write();
    cx.check_aligned(&[q, k, v, y])?;
    let head = q.cols / op.heads;
    if !head.is_multiple_of(8) || head > HEAD_MAX {
        return Err(cx.refusal("heads must be a multiple of 8 columns, at most 1024"));
    }
    let (ends, ranges) = tables(&op.windows)?;
    let (ends, ranges) = (cx.metadata(&ends), cx.metadata(&ranges));
    let grid = [blocks(q.rows.div_ceil(ROWS))?, blocks(op.heads)?, 1];
    let args = AttentionArgs {
        y: y.into(),
        q: q.into(),
        k: k.into(),
        v: v.into(),
        ends,
        ranges,
        shape: AttentionShape {
            rows: int(q.rows)?,
            head: int(head)?,
            sharing: int(op.heads / op.kv_heads)?,
            q_pitch: int(q.pitch)?,
            k_pitch: int(k.pitch)?,
            v_pitch: int(v.pitch)?,
            y_pitch: int(y.pitch)?,
            scale: op.scale,
            softcap: op.softcap.unwrap_or(0.0),
        },
    };
    // SAFETY: q and y have the same rows and `heads * head` columns, k and v the same rows and `kv_heads * head`
    // columns; `ends` has an element for each row of q, and `ranges` names rows of k; the grid has a warp for each row of
    // each head.
    unsafe { cx.launch_one_of(ATTENTION_PLAIN, &args, grid, 0) }
}

/// For each query the end of its key ranges in the list, and the list: first key, and behind the last.
fn tables(windows: &[MaskBlock]) -> Result<(Vec<i32>, Vec<i32>)> {
    let (mut ends, mut ranges) = (Vec::new(), Vec::new());
    for window in windows {
        for _ in window.queries.clone() {
            for keys in &window.keys {
                ranges.extend([int(keys.start)?, int(keys.end)?]);
            }
            ends.push(int(ranges.len() / 2)?);
        }
    }
    Ok((ends, ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_has_its_ranges() {
        let windows = [
            MaskBlock::new(0..2, [0..3, 5..9]),
            MaskBlock::new(2..3, [4..5]),
        ];
        let (ends, ranges) = tables(&windows).unwrap();
        assert_eq!(ends, [2, 4, 5]);
        assert_eq!(ranges, [0, 3, 5, 9, 0, 3, 5, 9, 4, 5]);
    }
}
