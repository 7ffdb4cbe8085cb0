//! 3D convolution over `[frames, height, width, channels]`.

use super::arg::Arg;
use crate::{Shape, plan::Conv3d};

pub(super) fn conv3d(_args: &[Arg<'_>], _conv: Conv3d, _result: &Shape) -> Vec<f32> {
    todo!()
}
