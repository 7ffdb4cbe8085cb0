//! Bytes people know: pictures, sound, MP4.
