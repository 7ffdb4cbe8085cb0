//! The stages in order: text, denoise, upscale, decode, mux.

pub mod sound;
pub mod text;
