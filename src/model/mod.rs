//! Functions that emit plans, and the small host tables they take as inputs: coordinates, angles, key ranges.
//!
//! Invariant: runs nothing and reads no file. A model's configuration is a value that is passed in; there are no
//! globals and no environment variables.

pub mod audio_vae;
pub mod dit;
pub mod text_encoder;
pub mod video_vae;
