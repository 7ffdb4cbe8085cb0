//! Files that appear complete or not at all: all of a run at once, each without taking the place of another.

use std::{
    ffi::OsString,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::part::{Unnamed, folder_of};
use crate::{Error, Result, error::Hint};

/// A file being written. [`publish`] gives it its name; dropping it before that, after an error, a cancel or a panic,
/// leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    /// The path without links.
    target: PathBuf,
    part: Unnamed,
    replaces: bool,
}

impl AtomicFile {
    /// Starts a file that will be at `path`, where one may be only if it `replaces` that.
    ///
    /// # Errors
    /// [`Error::Output`] if there is a file that stays, if the folder is missing or may not be written, or if `path`
    /// is a folder, a device, a link to nothing or has no file name.
    pub fn create(path: &Path, replaces: bool) -> Result<Self> {
        let target = resolve(path, replaces)?;
        let part = Unnamed::file(&target).map_err(|e| Error::output_io(path, e))?;
        Ok(Self {
            path: path.into(),
            target,
            part,
            replaces,
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Output`]
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.part.handle().write_all(bytes);
        written.map_err(|e| Error::output_io(&self.path, e))
    }

    /// Path of the bytes until [`publish`]; another process may write there.
    pub fn part_path(&self) -> &Path {
        self.part.path()
    }

    /// The path that it was created for.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives all files their names, in order: all of them or, if one cannot have its name, none.
///
/// # Errors
/// [`Error::Output`]
pub fn publish(mut files: Vec<AtomicFile>) -> Result<()> {
    for file in &files {
        file.part.take_rights(&file.target);
        let synced = file.part.handle().sync_all();
        synced.map_err(|e| Error::output_io(&file.path, e))?;
    }
    for at in 0..files.len() {
        let file = &mut files[at];
        let Err(e) = file.part.publish(&file.target, file.replaces) else {
            continue;
        };
        let error = match e.kind() {
            ErrorKind::AlreadyExists => {
                Error::output(&file.path, "has appeared meanwhile").with_hint(Hint::Replace)
            }
            _ => Error::output_io(&file.path, e),
        };
        for file in files[..at].iter_mut().rev() {
            file.part.retract(&file.target);
        }
        return Err(error);
    }
    Ok(())
}

/// Refuses files to be `written` of which two are one, or one is among those that are `read`: by another path, by a
/// link, or by a name that some file systems take for the same.
///
/// # Errors
/// [`Error::Output`]
pub fn check_apart(written: &[PathBuf], read: &[PathBuf]) -> Result<()> {
    for (at, path) in written.iter().enumerate() {
        let Some(own) = identity(path) else {
            continue;
        };
        let is_it = |other: &&PathBuf| identity(other).as_ref() == Some(&own);
        let problem = if let Some(other) = written[..at].iter().find(is_it) {
            format!(
                "is the same file as `{}`, which is written too; give each its own name",
                other.display()
            )
        } else if let Some(other) = read.iter().find(is_it) {
            format!(
                "is the same file as `{}`, which is read; choose another name",
                other.display()
            )
        } else {
            continue;
        };
        return Err(Error::output(path, problem));
    }
    Ok(())
}

/// A file as its system knows it: device and number; before it exists those of its folder, and its name without case.
fn identity(path: &Path) -> Option<(u64, u64, Option<OsString>)> {
    let of = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    if let Ok((device, number)) = of(path) {
        return Some((device, number, None));
    }
    let (device, number) = of(folder_of(path)).ok()?;
    Some((device, number, Some(path.file_name()?.to_ascii_lowercase())))
}

/// The file that `path` stands for. Links are followed, so that the file is replaced and not the link.
fn resolve(path: &Path, replaces: bool) -> Result<PathBuf> {
    let problem = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            "is a folder; give a file name in it such as `clip.mp4`".into()
        }
        Ok(meta) if !meta.is_file() => {
            "is a device or pipe; expected a file that can be replaced".into()
        }
        Ok(_) if !replaces => return Err(Error::output(path, "exists").with_hint(Hint::Replace)),
        Ok(_) => return fs::canonicalize(path).map_err(|e| Error::output_io(path, e)),
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(Error::output_io(path, e));
        }
        Err(_) if path.as_os_str() == "-" => {
            "is standard output, which takes the clip alone; write `./-` for a file of this name"
                .into()
        }
        Err(_) if path.is_symlink() => "is a link to a file that is not there; remove it".into(),
        Err(_) if path.file_name().is_none() => {
            "has no file name; give a file such as `clip.mp4`".into()
        }
        Err(_) if folder_of(path).is_dir() => return Ok(path.into()),
        Err(_) => format!(
            "its folder `{}` does not exist; create it first",
            folder_of(path).display()
        ),
    };
    Err(Error::output(path, problem))
}
