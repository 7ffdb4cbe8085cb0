//! Bytes people know: pictures, sound, MP4.

mod windows;

pub use windows::merge_windows;
