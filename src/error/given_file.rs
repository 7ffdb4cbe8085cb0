//! Files that somebody gives: opened only where reading them ends, read up to a limit, as text without the mark that
//! some editors put in front.

use std::{
    fs::{self, File, FileType},
    io::Read,
    path::Path,
};

use crate::{Error, Result};

/// What a file is given as, which decides the kind of error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenFile {
    /// A prompt, image, audio or features file.
    Input,
    /// A model file.
    Weights,
}

impl GivenFile {
    /// That the file at `path` has a problem.
    pub fn error(self, path: &Path, problem: impl Into<String>) -> Error {
        match self {
            Self::Input => Error::input(path.display().to_string(), problem),
            Self::Weights => Error::weights(path, problem),
        }
    }

    /// Opens the regular file at `path`, which has at most `limit` bytes. A pipe, socket or device is refused before it
    /// is opened: that may wait for ever, or be read without an end.
    ///
    /// # Errors
    /// [`Error::Input`] or [`Error::Weights`].
    pub fn open(self, path: &Path, limit: u64) -> Result<File> {
        let io = |e| match self {
            Self::Input => Error::input_io(path.display().to_string(), e),
            Self::Weights => Error::weights_io(path, e),
        };
        let meta = fs::metadata(path).map_err(io)?;
        if let Some(kind) = special_kind(meta.file_type()) {
            return Err(self.error(path, format!("is {kind}; expected a file")));
        }
        self.check_length(path, meta.len(), limit)?;
        File::open(path).map_err(io)
    }

    /// The bytes of the regular file at `path`, at most `limit`.
    ///
    /// # Errors
    /// As [`GivenFile::open`].
    pub fn read(self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let file = self.open(path, limit)?;
        let mut bytes = Vec::new();
        // A file may grow while it is read.
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| self.error(path, format!("cannot be read: {e}")))?;
        self.check_length(path, bytes.len() as u64, limit)?;
        Ok(bytes)
    }

    /// The text of the regular file at `path`, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`GivenFile::open`], and for bytes that are no UTF-8.
    pub fn read_text(self, path: &Path, limit: u64) -> Result<String> {
        text(self.read(path, limit)?).map_err(|problem| self.error(path, problem))
    }

    fn check_length(self, path: &Path, bytes: u64, limit: u64) -> Result<()> {
        if bytes <= limit {
            return Ok(());
        }
        let [has, most] = [bytes, limit].map(super::human_bytes);
        let problem = format!("is longer than expected: at most {most}; found {has}");
        Err(self.error(path, problem))
    }
}

/// UTF-8 text without a byte order mark.
///
/// # Errors
/// What is wrong with the bytes, to follow the name of the file.
pub fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("must be UTF-8 text; found UTF-16, save it as UTF-8".into());
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        format!("must be UTF-8 text; byte {at} is not")
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.into(),
        None => text,
    })
}

/// What lies at a path, if it is no regular file.
fn special_kind(kind: FileType) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
    }
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => None,
        (false, true) => Some("a folder"),
        (false, false) => Some("something else"),
    }
}
