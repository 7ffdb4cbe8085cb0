//! Files that somebody gives: opened only where reading them ends, read up to a limit, as text without the mark that
//! some editors put in front.

use std::{
    fs::{self, File, FileType},
    io::{ErrorKind, Read},
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
        let meta = fs::metadata(path).map_err(|e| match fs::read_link(path) {
            Ok(to) if e.kind() == ErrorKind::NotFound => {
                let problem = format!("is a link to `{}`, which is not there", to.display());
                self.error(path, problem)
            }
            _ => io(e),
        })?;
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
        let bytes = self.read_from(file, path, limit)?;
        // A prompt may be anything.
        let problem =
            (self == Self::Weights).then(|| stand_in(&bytes).or_else(|| cut_json(&bytes)));
        match problem.flatten() {
            Some(problem) => Err(self.error(path, problem)),
            None => Ok(bytes),
        }
    }

    /// All that `source`, which messages call `name`, has to give, at most `limit` bytes: a file, which may grow while it
    /// is read, or a pipe.
    ///
    /// # Errors
    /// As [`GivenFile::open`].
    pub fn read_from(self, source: impl Read, name: &Path, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = source.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| self.error(name, format!("cannot be read: {e}")))?;
        self.check_length(name, bytes.len() as u64, limit)?;
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

/// What a file is, by its first bytes, if a failed download or an unfinished copy left it in another's place; to follow
/// the file's name.
pub fn stand_in(head: &[u8]) -> Option<String> {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(&head[..head.len().min(LONGEST)]);
    let text = text.trim_start_matches('\u{feff}').trim();
    let lower = text.to_ascii_lowercase();
    let starts = |with: &str| lower.starts_with(with);
    if starts("version https://git-lfs.github.com/spec/") {
        return Some("is a git-LFS pointer, not the file; get that with `git lfs pull`".into());
    }
    let is_xml = starts("<?xml");
    let is_page = |mark: &&str| starts(mark) || is_xml && lower.contains(mark);
    if ["<!doctype html", "<html"].iter().any(is_page) {
        let problem = "is a web page (HTML), not the file; download it again, after accepting its licence if it has one";
        return Some(problem.into());
    }
    if is_xml {
        return Some("is an XML document, as a failed download leaves, not the file".into());
    }
    let is_answer = starts("{\"error\"") || starts("{\"message\"") || starts("{\"detail\"");
    if is_answer && head.len() <= LONGEST {
        return Some(format!("is a server's answer, not the file: {text}"));
    }
    if head.starts_with(&[0, 5, 0x16, 7]) {
        return Some("is what macOS keeps beside a file (`._`), not the file".into());
    }
    None
}

/// That a JSON object lacks its end.
fn cut_json(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.trim_ascii();
    let is_cut = bytes.starts_with(b"{") && !bytes.ends_with(b"}");
    is_cut.then(|| "is cut off; download it again".into())
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
