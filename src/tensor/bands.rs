//! The bands of the denoiser's position encoding, which its plans and its synthetic weights both need.

/// Frequencies of the rotation, `10000^(-i / 16)` correctly rounded; stored in checkpoints as
/// `adapter.rope.bands`, which wins.
pub const ROPE_BANDS: [u32; 16] = [
    0x3f80_0000,
    0x3f0f_f59a,
    0x3ea1_e89b,
    0x3e36_1887,
    0x3dcc_cccd,
    0x3d66_55c3,
    0x3d01_86e2,
    0x3c91_ad39,
    0x3c23_d70a,
    0x3bb8_449c,
    0x3b4f_3e37,
    0x3ae9_1528,
    0x3a83_126f,
    0x3a13_6a16,
    0x39a5_cb5f,
    0x393a_7753,
];
