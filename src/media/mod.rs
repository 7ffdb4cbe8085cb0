//! Bytes people know: pictures and sound in, an MP4 out.
//!
//! In: [`open_image`] and [`preprocess`] make the first-frame tensor, [`open_voice`] the waveform of a voice
//! track. Out: [`to_u8`] turns decoded video into frames, [`resample_441_512`] decoded sound into 44.1 kHz, and
//! [`write_clip`] makes one file of both. Read [`Clip`] and [`write_clip`] first.
//!
//! This module knows nothing about models, plans or devices. Only `h264.rs` contains `unsafe`.

mod aac;
mod boxes;
mod clip;
mod edit_list;
mod embedded;
mod exif;
mod external;
mod frames;
mod h264;
mod image;
mod mp4;
mod output;
mod raw;
mod read;
mod resample;
mod rescale;
mod resize;
mod sample_entry;
mod sheet;
mod sinc;
mod sound;
mod wav;
mod windows;
mod yuv;

pub use aac::{AAC_DELAY, AAC_FRAME, AacStream, encode_aac};
pub use clip::{
    Clip, Color, EncodeOptions, EncodeReport, Encoder, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME,
    WrittenFile, write_clip,
};
pub use frames::to_u8;
pub use h264::{Gop, H264Settings, encode_gop};
pub use image::{Image, MAX_PIXELS, decode_image, open_image};
pub use mp4::{AudioTrack, VideoTrack, write_mp4};
pub use output::AtomicFile;
pub use resample::resample_441_512;
pub use rescale::{Interpolation, rescale};
pub use resize::{crop_box, enlarge, preprocess, resize_lanczos};
pub use sheet::write_sheet;
pub use sinc::resample_sinc;
pub use sound::{MAX_VOICE_SECONDS, VOICE_RATE, decode_voice, open_voice};
pub use wav::{pcm16, write_wav};
pub use windows::merge_windows;
pub use yuv::{Yuv420, rgb_to_yuv420};
