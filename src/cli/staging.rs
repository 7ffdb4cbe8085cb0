//! A folder that gets its name only when it is complete.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{Error, Result, error::Hint, pipeline::Unnamed, weights::manifest};

/// Largest file of a checkpoint that is written in shards, bytes.
pub(super) const SHARD_BYTES: u64 = 5_000_000_000;

/// A folder beside its target, renamed to it when complete and removed otherwise.
pub(super) struct Staging {
    part: Unnamed,
    /// The path that was given.
    path: PathBuf,
    /// The path without links.
    target: PathBuf,
    force: bool,
}

impl Staging {
    /// A folder for `path`, which must be new or empty; with `force` it may be a model folder, which is then replaced.
    pub(super) fn new(path: &Path, force: bool) -> Result<Self> {
        if path.file_name().is_none() || path.as_os_str() == "-" {
            return Err(Error::output(path, "must be the name of a folder"));
        }
        let refused = |e| Error::output_io(path, e);
        let target = match path.try_exists().map_err(refused)? {
            true => fs::canonicalize(path).map_err(refused)?,
            false if path.is_symlink() => {
                return Err(Error::output(path, "is a link to nothing; remove it"));
            }
            false => path.to_path_buf(),
        };
        let stage = Self {
            part: Unnamed::folder(&target).map_err(refused)?,
            path: path.into(),
            target,
            force,
        };
        if stage.replaces()? {
            // Asked now rather than after the work.
            let mut other = Unnamed::folder(&stage.target).map_err(refused)?;
            let place = Unnamed::folder(&stage.target).map_err(refused)?;
            if other.publish(place.path(), true).is_err() || !other.path().exists() {
                let problem = "lies where folders cannot be exchanged; remove it first";
                return Err(Error::output(path, problem));
            }
        }
        Ok(stage)
    }

    /// Where the files are written.
    pub(super) fn folder(&self) -> &Path {
        self.part.path()
    }

    pub(super) fn commit(mut self) -> Result<()> {
        // What has appeared meanwhile stays.
        let replaces = self.replaces()?;
        self.part.take_rights(&self.target);
        sync(self.part.path())
            .and_then(|()| self.part.publish(&self.target, replaces))
            .map_err(|e| Error::output_io(&self.path, e))
    }

    /// Whether there is a folder that may be replaced; an error if it may not.
    fn replaces(&self) -> Result<bool> {
        let Ok(mut entries) = fs::read_dir(&self.target) else {
            return match self.target.try_exists() {
                Ok(false) => Ok(false),
                _ => Err(Error::output(&self.path, "is no folder that can be read")),
            };
        };
        let is_model = self.target.join(manifest::FILE_NAME).is_file();
        if entries.next().is_none() || (self.force && is_model) {
            return Ok(true);
        }
        let error = |problem: &str| Err(Error::output(&self.path, problem));
        match (is_model, self.force) {
            (true, _) => error("must be a new or an empty folder; it holds a model")
                .map_err(|e| e.with_hint(Hint::Replace)),
            (false, false) => error("must be a new or an empty folder; it holds files"),
            (false, true) => {
                error("holds files and no gallop.json; --force replaces model folders alone")
            }
        }
    }
}

/// Brings all that is in `folder` to the disk, and the folder itself.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync(&entry.path())?,
            false => File::open(entry.path())?.sync_all()?,
        }
    }
    File::open(folder)?.sync_all()
}
