//! An image in memory.

/// An 8-bit RGB image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// The file it came from, for messages.
    pub name: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// u8 `[height, width, 3]`.
    pub rgb: Vec<u8>,
    /// Whether some pixel was not opaque; it has the colour that the file stores for it.
    pub is_transparent: bool,
}
