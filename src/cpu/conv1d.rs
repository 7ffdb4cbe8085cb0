//! 1D convolutions over `[samples, channels]`.

use super::arg::Arg;
use crate::{Shape, plan::Conv1d};

pub(super) fn conv1d(_args: &[Arg<'_>], _conv: Conv1d, _result: &Shape) -> Vec<f32> {
    todo!()
}

pub(super) fn conv_transpose1d(_args: &[Arg<'_>], _stride: usize, _result: &Shape) -> Vec<f32> {
    todo!()
}
