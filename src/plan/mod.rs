//! A model described once: a flat list of ops over named, typed buffers. Knows no device.
