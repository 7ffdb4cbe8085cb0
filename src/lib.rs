//! gallop: an inference runtime for the HappyHorse-class single-stream audio-video transformer.
//!
//! Start with [`pipeline::Session`], a device and a model that make clips.

pub mod cli;
pub mod cpu;
pub mod cuda;
pub mod device;
pub mod error;
pub mod executor;
pub mod golden;
pub mod inspect;
pub mod media;
pub mod model;
pub mod pipeline;
pub mod plan;
pub mod qualify;
pub mod sampler;
pub mod tensor;
pub mod text;
pub mod weights;

pub use error::{Error, Result};
pub use tensor::{DType, Shape, Tensor};
