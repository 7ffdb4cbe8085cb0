//! The world of the miniature: one subject on a plain or two-tone ground, moving and sounding.
//!
//! [`scene`] says what there is to show and draws it at random; [`picture`] and [`sound`] make a clip of it;
//! [`latents`] writes it down as the networks see it; [`prompt`] describes it in seven languages; [`reader`] looks at
//! a finished clip and says what it shows, knowing nothing of how it was made. Lengths are parts of the frame's side,
//! times are seconds.

pub mod latents;
pub mod picture;
pub mod prompt;
pub mod random;
pub mod reader;
pub mod scene;
pub mod sound;
