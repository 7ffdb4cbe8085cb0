//! Pictures, sound and clips: exactness against the goldens, hostile input, and an independent look at the files
//! we write.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in a helper is a failed test"
)]

mod boxes;
mod clips;
mod ffmpeg;
mod golden;
mod h264_decoder;
mod miniature;
mod odd_pictures;
mod output_paths;
mod pictures;
mod properties;
mod scratch;
mod sounds;
#[path = "world.rs"]
mod world_clips;
