//! Functions that emit plans, and the small host tables they take as inputs. Runs nothing.

pub mod audio_vae;
pub mod text_encoder;
