//! Facts about a model and a device without making a clip: what a request takes, which parts a folder has, how long
//! stages and kernels take.
//!
//! Invariant: runs the pipeline's plans, never the pipeline.

pub mod bench;
pub mod estimate;
pub mod inventory;
mod noise;
pub mod op_times;
pub mod rates;
