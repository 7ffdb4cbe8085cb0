//! Media files: images and audio in, an MP4 out.
//!
//! In: [`open_image`] and [`preprocess`] make the tensor of the first frame, [`open_voice`] the waveform of a voice
//! track. Out: [`to_u8`] turns decoded video into frames, [`resample_441_512`] decoded audio into 44.1 kHz, and
//! [`write_clip`] makes one file of both. Read [`Clip`] and [`write_clip`] first.
//!
//! Imports no model, plan or device. Only `encode/h264.rs` contains `unsafe`.

mod clip;
mod decode;
mod edit_list;
mod encode;
mod frames;
mod image;
mod input;
mod jpeg;
mod orientation;
mod output;
mod part;
mod resample;
mod resize;
mod sheet;
mod sinc;
mod sound;
mod sound_file;
mod sound_names;
mod thumbnail;
mod wav;
mod windows;

pub use clip::{
    Clip, Color, EncodeOptions, EncodeReport, Encoder, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Tags,
    WrittenFile,
};
pub use decode::{MAX_PIXELS, decode_image, open_image};
pub use encode::{
    AAC_DELAY, AAC_FRAME, AacStream, AudioTrack, Gop, H264Settings, VideoTrack, Yuv420, encode_aac,
    encode_gop, rgb_to_yuv420, sound_track, write_clip, write_clip_to, write_mp4,
};
pub use frames::to_u8;
pub use image::Image;
pub use input::Input;
pub use output::{AtomicFile, check_apart, publish};
pub use part::Unnamed;
pub use resample::resample_441_512;
pub use resize::{crop_box, enlarge, preprocess, resize_lanczos};
pub use sheet::write_sheet;
pub use sinc::resample_sinc;
pub use sound::{VOICE_RATE, Voice, decode_voice, open_voice};
pub use thumbnail::write_thumbnail;
pub use wav::{pcm16, write_wav};
pub use windows::merge_windows;
