//! `softmax(cap(scale q kᵀ)) v` per head: logits of a block of queries over the union of their key ranges, one softmax
//! with sums in f64, one matmul with v.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    arg::{Args, View},
    gemm::{Matrix, gemm},
};
use crate::plan::Attention;

/// Queries of one task; bounds the memory of the logits to this many rows of all keys.
const BLOCK: usize = 64;

/// A block of queries, the keys it sees, and the head.
type Task<'a> = (Range<usize>, &'a [Range<usize>], usize);

pub(super) fn attention(args: &Args<'_>, op: &Attention) -> Vec<f32> {
    let [q, k, v] = [0, 1, 2].map(|i| args[i].view());
    let d = q.cols() / op.heads;
    let shared = op.heads / op.kv_heads;
    let tasks: Vec<Task<'_>> = op
        .windows
        .iter()
        .flat_map(|w| blocks(&w.queries).map(move |queries| (queries, w.keys.as_slice())))
        .flat_map(|(queries, keys)| (0..op.heads).map(move |head| (queries.clone(), keys, head)))
        .collect();
    let results: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|(queries, keys, head)| {
            if args.is_cancelled() {
                return Vec::new();
            }
            let kv = (head / shared) * d..(head / shared + 1) * d;
            let q = q.slice(queries.clone()).columns(head * d..(head + 1) * d);
            one_head(q, k.columns(kv.clone()), v.columns(kv), keys, op)
        })
        .collect();
    let cols = q.cols();
    let mut y = vec![0.0; q.rows() * cols];
    for ((queries, _, head), result) in tasks.iter().zip(&results) {
        for (row, values) in queries.clone().zip(result.chunks_exact(d)) {
            y[row * cols + head * d..row * cols + (head + 1) * d].copy_from_slice(values);
        }
    }
    y
}

fn blocks(queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let end = queries.end;
    queries
        .clone()
        .step_by(BLOCK)
        .map(move |start| start..end.min(start + BLOCK))
}

fn one_head(
    q: View<'_>,
    k: View<'_>,
    v: View<'_>,
    keys: &[Range<usize>],
    op: &Attention,
) -> Vec<f32> {
    let (rows, d) = (q.rows(), q.cols());
    let count: usize = keys.iter().map(Range::len).sum();
    let mut logits = vec![0.0; rows * count];
    let mut first = 0;
    for range in keys {
        let a = Matrix::rows(q.strided(), q.pitch());
        let b = Matrix::transposed(k.slice(range.clone()).strided(), k.pitch());
        let size = [rows, d, range.len()];
        gemm(size, a, b, &mut logits[first..], count, false);
        first += range.len();
    }
    let sums: Vec<f64> = logits
        .chunks_exact_mut(count)
        .map(|row| exponentials(row, op))
        .collect();
    let mut y = vec![0.0; rows * d];
    first = 0;
    for range in keys {
        let b = Matrix::rows(v.slice(range.clone()).strided(), v.pitch());
        let a = Matrix::rows(&logits[first..], count);
        gemm([rows, range.len(), d], a, b, &mut y, d, first > 0);
        first += range.len();
    }
    for (row, sum) in y.chunks_exact_mut(d).zip(sums) {
        row.iter_mut()
            .for_each(|y| *y = (f64::from(*y) / sum) as f32);
    }
    y
}

/// Replaces a row of logits by `exp(logit - max)` and returns the sum.
fn exponentials(row: &mut [f32], op: &Attention) -> f64 {
    for z in row.iter_mut() {
        *z *= op.scale;
        if let Some(cap) = op.softcap {
            *z = cap * (*z / cap).tanh();
        }
    }
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for z in row.iter_mut() {
        *z = (*z - max).exp();
        sum += f64::from(*z);
    }
    sum
}
