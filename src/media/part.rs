//! What an output is until it is complete: a file or a folder beside its place, under a name that says so.
//!
//! Its owner holds a lock on it, which ends with the process however that ends. So a part without one is what a killed
//! run left, and the next run that writes to the folder removes it.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File, OpenOptions},
    hash::BuildHasher,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// First and last letters of every part's name; what stands between them is random.
const NAME: [&str; 2] = [".gallop-", ".part"];

/// A file or folder that has no name of its own yet. Dropping it removes what lies under its temporary name.
#[derive(Debug)]
pub struct Unnamed {
    path: PathBuf,
    /// Holds the lock.
    file: File,
    holds: Holds,
}

/// What lies under the temporary name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// What is being written.
    Output,
    /// What was replaced.
    Replaced,
    /// Nothing, since the output has a new name.
    Nothing,
    /// Nothing, and what was replaced cannot be had back.
    NothingMore,
}

impl Unnamed {
    /// An empty file in the folder of `target`.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn file(target: &Path) -> io::Result<Self> {
        Self::create(target, |path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).open(path)
        })
    }

    /// An empty folder in the folder of `target`.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn folder(target: &Path) -> io::Result<Self> {
        Self::create(target, |path| {
            fs::create_dir(path).and_then(|()| File::open(path))
        })
    }

    fn create(target: &Path, make: impl Fn(&Path) -> io::Result<File>) -> io::Result<Self> {
        sweep(folder_of(target));
        loop {
            let number = RandomState::new().hash_one(0);
            let path = target.with_file_name(format!("{}{number:016x}{}", NAME[0], NAME[1]));
            let file = match make(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            };
            // Where there are no locks, nobody removes parts. Another run may have taken this one before it had its
            // lock.
            drop(file.lock());
            if fs::symlink_metadata(&path).is_ok() {
                let holds = Holds::Output;
                return Ok(Self { path, file, holds });
            }
        }
    }

    /// The temporary name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is locked: the file itself, or the folder.
    pub(super) fn handle(&self) -> &File {
        &self.file
    }

    /// Takes over mode and owner of `target`, as far as the system allows; without a `target` nothing.
    pub fn take_rights(&self, target: &Path) {
        if let Ok(old) = fs::metadata(target) {
            drop(fchown(&self.file, None, Some(old.gid())));
            drop(fchown(&self.file, Some(old.uid()), None));
            drop(self.file.set_permissions(old.permissions()));
        }
    }

    /// Renames it to `target`. What is there stays, unless the part `replaces` it: then it lies under the temporary
    /// name until this part is dropped, so that `target` exists at every moment.
    ///
    /// # Errors
    /// If the system refuses it, or something is there that is not to be replaced.
    pub fn publish(&mut self, target: &Path, replaces: bool) -> io::Result<()> {
        self.holds = if replaces && exchange(&self.path, target).is_ok() {
            Holds::Replaced
        } else {
            match rename_apart(&self.path, target) {
                Ok(()) => Holds::Nothing,
                Err(e) if !replaces => return Err(e),
                Err(_) => {
                    fs::rename(&self.path, target)?;
                    Holds::NothingMore
                }
            }
        };
        // The name is on the disk too, where folders can be synced.
        drop(File::open(folder_of(target)).and_then(|folder| folder.sync_all()));
        Ok(())
    }

    /// Undoes [`Unnamed::publish`], if it can.
    pub fn retract(&mut self, target: &Path) {
        let undone = match self.holds {
            Holds::Replaced => exchange(&self.path, target),
            Holds::Nothing => rename_apart(target, &self.path),
            Holds::Output | Holds::NothingMore => return,
        };
        if undone.is_ok() {
            self.holds = Holds::Output;
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if matches!(self.holds, Holds::Output | Holds::Replaced) {
            remove(&self.path);
        }
    }
}

/// The folder that `path` is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes the parts in `folder` whose owners are gone.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_part = name
            .to_str()
            .is_some_and(|name| name.starts_with(NAME[0]) && name.ends_with(NAME[1]));
        // Opening anything else might wait.
        let is_ours = |kind: fs::FileType| kind.is_file() || kind.is_dir();
        if is_part
            && entry.file_type().is_ok_and(is_ours)
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            remove(&entry.path());
        }
    }
}

/// Removes a file or a folder. A failure cannot be handled, and what led here matters more.
fn remove(path: &Path) {
    drop(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)));
}

/// Renames `from` if nothing is at `to`.
fn rename_apart(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Network file systems cannot do it in one step: something empty takes the name first.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match from.is_dir() {
                true => fs::create_dir(to)?,
                false => drop(File::create_new(to)?),
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// Each gets the other's name.
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}
