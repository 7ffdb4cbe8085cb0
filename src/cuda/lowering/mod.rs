//! What lowering works with: where buffers lie, what a launch function sees of the plan, and what it makes.

pub(super) mod arena;
pub mod attention_tiles;
pub(super) mod context;
pub(super) mod weights;
pub(super) mod work;

pub(super) use self::{
    arena::DeviceView,
    context::{LowerCx, axes, blocks, chunk_blocks, int},
    work::BoundLaunch,
};
