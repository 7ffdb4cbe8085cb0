//! Builds MP4 boxes in memory.

/// A box: length, name, content.
pub(super) fn boxed(name: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, name, content);
    bytes
}

/// Appends a box to `b`.
pub(super) fn put(b: &mut Vec<u8>, name: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let start = b.len();
    u32_be(b, 0);
    b.extend(name);
    content(b);
    let length = (b.len() - start) as u32;
    b[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a box whose content starts with a version and 24 bits of flags.
pub(super) fn full_box(
    b: &mut Vec<u8>,
    name: &[u8; 4],
    version: u8,
    flags: u32,
    content: impl FnOnce(&mut Vec<u8>),
) {
    put(b, name, |b| {
        u32_be(b, u32::from(version) << 24 | flags);
        content(b);
    });
}

/// Appends a big-endian number.
pub(super) fn u32_be(b: &mut Vec<u8>, value: u32) {
    b.extend(value.to_be_bytes());
}

/// Numbers of four bytes each.
pub(super) fn words(b: &mut Vec<u8>, values: impl IntoIterator<Item = u32>) {
    values.into_iter().for_each(|value| u32_be(b, value));
}
