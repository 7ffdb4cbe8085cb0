//! Pictures, sound and clips: exactness against the goldens, hostile input, and an independent look at the files
//! we write.

#[path = "media/boxes.rs"]
mod boxes;
#[path = "media/clips.rs"]
mod clips;
#[path = "media/golden.rs"]
mod golden;
#[path = "media/h264_decoder.rs"]
mod h264_decoder;
#[path = "media/pictures.rs"]
mod pictures;
#[path = "media/scratch.rs"]
mod scratch;
#[path = "media/sounds.rs"]
mod sounds;
