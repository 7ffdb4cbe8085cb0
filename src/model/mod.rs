//! Functions that emit plans, and the small host tables that are inputs of plans: coordinates, rotation angles, key
//! ranges.
//!
//! Sources, cited below each network as "reference": the published inference code of daVinci-MagiHuman, paths below
//! its folder `inference/`.
//!
//! Invariant: nothing runs and no file is read here. A configuration is passed in as a value; there are no globals and
//! no environment variables.

pub mod audio_vae;
pub mod dit;
pub mod text_encoder;
pub mod video_vae;
