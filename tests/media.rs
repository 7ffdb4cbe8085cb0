//! Pictures, sound and clips: exactness against the goldens, hostile input, and an independent look at the files
//! we write.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in a helper is a failed test"
)]

#[path = "media/boxes.rs"]
mod boxes;
#[path = "media/clips.rs"]
mod clips;
#[path = "media/ffmpeg.rs"]
mod ffmpeg;
#[path = "media/golden.rs"]
mod golden;
#[path = "media/h264_decoder.rs"]
mod h264_decoder;
#[path = "media/miniature.rs"]
mod miniature;
#[path = "media/pictures.rs"]
mod pictures;
#[path = "media/places.rs"]
mod places;
#[path = "media/properties.rs"]
mod properties;
#[path = "media/scratch.rs"]
mod scratch;
#[path = "media/sounds.rs"]
mod sounds;
#[path = "media/world.rs"]
mod world_clips;
