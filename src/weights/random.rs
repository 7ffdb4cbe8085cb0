//! Counter-based random numbers: each depends only on a key and its index, so any can be computed alone.

/// Increment of the state per element: SplitMix64's.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Key of a tensor's numbers.
pub fn key(published_name: &str, seed: u64) -> u64 {
    fnv1a64(published_name.as_bytes()) ^ mix(seed)
}

/// The key whose element 0 is element `index` of `key`.
pub fn key_from(key: u64, index: u64) -> u64 {
    key.wrapping_add(index.wrapping_mul(STEP))
}

/// The FNV-1a hash.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finalizer of SplitMix64.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Element `index` of the numbers of `key`: uniform, an odd multiple of 2^-24 in (-1, 1).
pub(super) fn unit(key: u64, index: u64) -> f64 {
    let upper = mix(key_from(key, index + 1)) >> 40;
    (2.0 * upper as f64 + 1.0 - 16_777_216.0) / 16_777_216.0
}
