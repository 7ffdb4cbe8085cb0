//! A file that appears complete or not at all: written under a temporary name in its folder, then renamed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process,
};

use crate::{Error, Result, error::human_bytes};

/// How many left-over temporary names of dead processes are skipped before giving up.
const NAMES_TRIED: u32 = 1000;

/// A file being written. [`AtomicFile::commit`] renames it to its final path and replaces what was there; dropping it
/// without `commit` (after an error, a cancel, a panic) removes it.
///
/// The temporary name is `.NAME.PID.N.part`, created exclusively, so two runs that write one file do not mix: the last
/// to finish wins.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    part: PathBuf,
    file: File,
    written_bytes: u64,
    is_committed: bool,
}

impl AtomicFile {
    /// Starts a file that will be renamed to `path`.
    ///
    /// # Errors
    /// [`Error::Output`] if the folder is missing or may not be written, or if `path` is a folder, a device or
    /// has no file name.
    pub fn create(path: &Path) -> Result<Self> {
        let target = resolve(path)?;
        let name = target.file_name().ok_or_else(|| {
            Error::output(path, "has no file name; give a file such as `clip.mp4`")
        })?;
        for attempt in 0..NAMES_TRIED {
            let mut part_name = std::ffi::OsString::from(".");
            part_name.push(name);
            part_name.push(format!(".{}.{attempt}.part", process::id()));
            let part = target.with_file_name(part_name);
            match OpenOptions::new().write(true).create_new(true).open(&part) {
                Ok(file) => {
                    return Ok(Self {
                        target,
                        part,
                        file,
                        written_bytes: 0,
                        is_committed: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(explain(path, e, 0)),
            }
        }
        Err(Error::output(
            path,
            format!("{NAMES_TRIED} unfinished `.part` files lie beside it; remove them"),
        ))
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Output`]; if the disk is full, with the number of bytes written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| explain(&self.target, e, self.written_bytes))?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Path of the bytes until [`AtomicFile::commit`]; another process may write there.
    pub fn part_path(&self) -> &Path {
        &self.part
    }

    /// Syncs the bytes to disk and renames the file.
    ///
    /// # Errors
    /// [`Error::Output`]; the temporary file is removed.
    pub fn commit(mut self) -> Result<()> {
        let done = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.part, &self.target));
        done.map_err(|e| explain(&self.target, e, self.written_bytes))?;
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // A failure here cannot be handled, and the error that led here matters more.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// The file that `path` stands for. Links are followed, so the rename replaces the file and not the link.
fn resolve(path: &Path) -> Result<PathBuf> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(Error::output(
            path,
            "is a folder; give a file name in it such as `clip.mp4`",
        )),
        Ok(meta) if !meta.is_file() => Err(Error::output(
            path,
            "is a device or pipe; expected a file that can be replaced",
        )),
        Ok(_) => fs::canonicalize(path).map_err(|e| explain(path, e, 0)),
        Err(_) => {
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            if folder.is_dir() {
                Ok(path.to_path_buf())
            } else {
                Err(Error::output(
                    path,
                    format!(
                        "its folder `{}` does not exist; create it first",
                        folder.display()
                    ),
                ))
            }
        }
    }
}

/// The message for a system error while `path` was written.
fn explain(path: &Path, source: io::Error, written_bytes: u64) -> Error {
    let problem = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(
            "the disk is full after {}; free some space or choose another folder",
            human_bytes(written_bytes)
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "its folder may not be written; choose another one".into()
        }
        _ => "cannot be written".into(),
    };
    Error::Output {
        path: path.into(),
        problem,
        hint: None,
        source: Some(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_with_the_bytes_that_fitted() {
        let mut file = AtomicFile {
            target: "clip.mp4".into(),
            part: "/nonexistent/.clip.mp4.part".into(),
            file: OpenOptions::new().write(true).open("/dev/full").unwrap(),
            written_bytes: 3 << 20,
            is_committed: false,
        };
        let error = file.write(b"x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "clip.mp4: the disk is full after 3.0 MiB; free some space or choose another folder"
        );
        assert_eq!(error.exit_code(), 6);
    }

    #[test]
    fn a_read_only_folder_is_said() {
        for kind in [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
        ] {
            let error = explain(Path::new("a/b.mp4"), kind.into(), 0);
            assert!(error.to_string().contains("may not be written"), "{error}");
        }
    }
}
