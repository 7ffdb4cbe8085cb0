//! Ops that move pixels, frames and channels around.

use super::arg::Arg;
use crate::{Shape, plan::PixelOrder};

pub(super) fn upsample_nearest(_args: &[Arg<'_>]) -> Vec<f32> {
    todo!()
}

pub(super) fn pixel_shuffle(_args: &[Arg<'_>], _order: PixelOrder) -> Vec<f32> {
    todo!()
}

pub(super) fn pixel_unshuffle(_args: &[Arg<'_>], _order: PixelOrder) -> Vec<f32> {
    todo!()
}

pub(super) fn frame_shuffle(_args: &[Arg<'_>]) -> Vec<f32> {
    todo!()
}

pub(super) fn average_down(_args: &[Arg<'_>], _cell: [usize; 2], _result: &Shape) -> Vec<f32> {
    todo!()
}

pub(super) fn duplicate_up(_args: &[Arg<'_>], _cell: [usize; 2], _result: &Shape) -> Vec<f32> {
    todo!()
}
