//! What lowering works with: addresses of buffers, a launch function's view of the plan, and bound launches.

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
