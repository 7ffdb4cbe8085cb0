//! Activations.

use super::{arg::Args, elementwise::fill_rows};

const ALPHA: f32 = 1.702;
const LIMIT: f32 = 7.0;

/// `a sigma(1.702 a) (b + 1)` with `a = min(u[2j], 7)`, `b = clamp(u[2j + 1], -7, 7)`.
pub(super) fn swiglu7(args: &Args<'_>) -> Vec<f32> {
    let u = args[0].view();
    let width = u.cols() / 2;
    fill_rows(args, u.rows() * width, width, |row, y| {
        for (y, pair) in y.iter_mut().zip(u.row(row).chunks_exact(2)) {
            *y = gelu7(pair[0]) * (pair[1].clamp(-LIMIT, LIMIT) + 1.0);
        }
    })
}

/// `a sigma(1.702 a)` with `a = min(u, 7)`: only an upper clamp.
pub(super) fn gelu7(u: f32) -> f32 {
    let a = u.min(LIMIT);
    a * sigmoid(ALPHA * a)
}

/// `u / 2 (1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3)))`.
pub(super) fn gelu_tanh(u: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * u * (1.0 + (SQRT_2_OVER_PI * (u + 0.044_715 * u * u * u)).tanh())
}

/// `x sigma(x)`.
pub(super) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `x sigma(gate)` per head.
pub(super) fn sigmoid_gate(args: &Args<'_>) -> Vec<f32> {
    let (x, gate) = (args[0].view(), args[1].view());
    let cols = x.cols();
    let head = cols / gate.cols();
    fill_rows(args, x.rows() * cols, cols, |row, y| {
        let heads = y.chunks_exact_mut(head).zip(x.row(row).chunks_exact(head));
        for ((y, x), &gate) in heads.zip(gate.row(row)) {
            let factor = sigmoid(gate);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x * factor);
        }
    })
}

/// `x + sin(a x)^2 / (b + 1e-9)` per channel, `a = exp(alpha)`, `b = exp(beta)`.
pub(super) fn snake(args: &Args<'_>) -> Vec<f32> {
    let x = args[0].view();
    let a: Vec<f32> = args[1].values().iter().map(|&v| v.exp()).collect();
    let b: Vec<f32> = args[2]
        .values()
        .iter()
        .map(|&v| 1.0 / (v.exp() + 1e-9))
        .collect();
    let cols = x.cols();
    fill_rows(args, x.rows() * cols, cols, |row, y| {
        for (((y, &x), a), b) in y.iter_mut().zip(x.row(row)).zip(&a).zip(&b) {
            let sine = (a * x).sin();
            *y = x + sine * sine * b;
        }
    })
}

/// A sample of nominal range [-1, 1] as a byte: clamped, scaled, truncated (not rounded), as the reference does.
pub(super) fn byte(x: f32) -> f32 {
    ((0.5 * x + 0.5).clamp(0.0, 1.0) * 255.0).trunc()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
