//! A folder that gets its name only when it is complete.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, Result, weights::manifest};

/// Largest file of a checkpoint that is written in shards, bytes.
pub(super) const SHARD_BYTES: u64 = 5_000_000_000;

/// A folder beside its target, renamed to it when complete and removed otherwise.
pub(super) struct Staging {
    pub(super) path: PathBuf,
    target: PathBuf,
    is_committed: bool,
}

impl Staging {
    /// A folder for `target`, which must be new or empty; with `force` it may be a model folder, which is then
    /// replaced.
    pub(super) fn new(target: &Path, force: bool) -> Result<Self> {
        if target.exists() {
            let is_empty = fs::read_dir(target).map(|mut entries| entries.next().is_none());
            let is_empty = is_empty.map_err(|e| Error::output_io(target, e))?;
            let is_model = target.join(manifest::FILE_NAME).is_file();
            let problem = match (is_empty, force, is_model) {
                (true, ..) | (_, true, true) => None,
                (_, false, _) => Some("must be a new or an empty folder; it holds files"),
                (_, true, false) => {
                    Some("holds files and no gallop.json; --force replaces model folders alone")
                }
            };
            if let Some(problem) = problem {
                return Err(Error::output(target, problem));
            }
        }
        let path = beside(target, "part")?;
        fs::create_dir(&path).map_err(|e| Error::output_io(target, e))?;
        Ok(Self {
            path,
            target: target.to_path_buf(),
            is_committed: false,
        })
    }

    pub(super) fn commit(mut self) -> Result<()> {
        self.replace()
            .map_err(|e| Error::output_io(&self.target, e))?;
        self.is_committed = true;
        Ok(())
    }

    /// The old folder is removed last.
    fn replace(&self) -> io::Result<()> {
        if !self.target.exists() {
            return fs::rename(&self.path, &self.target);
        }
        let old = beside(&self.target, "old").map_err(io::Error::other)?;
        fs::rename(&self.target, &old)?;
        if let Err(e) = fs::rename(&self.path, &self.target) {
            fs::rename(&old, &self.target)?;
            return Err(e);
        }
        fs::remove_dir_all(&old)
    }
}

/// A hidden name beside `target`; two runs never share one.
fn beside(target: &Path, ending: &str) -> Result<PathBuf> {
    let name = target.file_name();
    let name = name.ok_or_else(|| Error::output(target, "must be the name of a folder"))?;
    let hidden = format!(
        ".{}.{}.{ending}",
        name.to_string_lossy(),
        std::process::id()
    );
    Ok(target.with_file_name(hidden))
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_committed {
            // If removing fails, there is nothing left to try.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}
