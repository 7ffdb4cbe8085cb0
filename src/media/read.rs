//! Reads input files whole, up to a limit.

use std::{fs::File, io::Read, path::Path};

use crate::{Error, Result, error::human_bytes};

/// The bytes of the file at `path`, at most `limit_bytes` of them.
///
/// # Errors
/// [`Error::Input`] if the file cannot be read, is a folder, is empty or is longer than the limit.
pub(super) fn read_file(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let io = |e| Error::input_io(&name, e);
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.is_dir() {
        return Err(Error::input(name, "is a folder; expected a file"));
    }
    check_length(&name, meta.len(), limit_bytes)?;
    // A pipe or device has no length of its own, so the limit is checked again while reading.
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    check_length(&name, bytes.len() as u64, limit_bytes)?;
    if bytes.is_empty() {
        return Err(Error::input(name, "is empty"));
    }
    Ok(bytes)
}

/// Whether `bytes` are not more than the limit.
///
/// # Errors
/// [`Error::Input`].
pub(super) fn check_length(name: &str, bytes: u64, limit_bytes: u64) -> Result<()> {
    if bytes <= limit_bytes {
        return Ok(());
    }
    let limit = human_bytes(limit_bytes);
    let problem = format!("is longer than {limit}; expected a shorter file");
    Err(Error::input(name, problem))
}
