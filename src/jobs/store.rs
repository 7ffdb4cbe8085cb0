//! Jobs on the disk: a folder each, whole at every moment.
//!
//! `STATE/jobs/<id>/` holds `job.json`, the inputs and the clip. A folder appears under its name when all in it is on the
//! disk; `job.json` is replaced as a whole. So a crash at any moment leaves the state before a change or the one after it,
//! and what it leaves beside them is removed at the next start.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    id::{JobId, random_token},
    record::{JobRecord, JobStatus},
    refusal::{Code, Refusal},
};
use crate::{Error, Result, error::Field};

const RECORD: &str = "job.json";
const RECORD_PART: &str = ".job.json.part";
/// First letters of a folder that is being made.
const COMING: &str = ".coming-";
/// First letters of a folder that is being removed.
const GONE: &str = ".gone-";
/// More than a record can have: four texts of at most a megabyte, each character of which JSON may write as six.
const MAX_RECORD_BYTES: u64 = 32 << 20;
/// Starts after which a job that never ended is not tried again.
const ATTEMPTS: u32 = 2;

/// The folder of all jobs, which one process has at a time.
#[derive(Debug)]
pub(super) struct JobStore {
    root: PathBuf,
    /// Holds the lock.
    _lock: File,
}

/// A file that a client has sent; dropping it removes it.
#[derive(Debug)]
pub struct Upload {
    path: PathBuf,
}

impl Upload {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

impl JobStore {
    /// Opens the folder `root`, or makes it, and reads the jobs in it as they go on after whatever ended the last process:
    /// what was worked on waits again, and what has been begun too often has failed. The second value says what could not be
    /// read.
    ///
    /// # Errors
    /// [`Error::Output`] if the folder cannot be had, [`Error::Request`] if another process has it.
    pub(super) fn open(root: &Path) -> Result<(Self, Vec<JobRecord>, Vec<String>)> {
        let fail = |e| Error::output_io(root, e);
        let jobs = root.join("jobs");
        fs::create_dir_all(&jobs).map_err(fail)?;
        let lock = File::create(root.join("lock")).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "must not be that of another server that runs";
                return Err(Error::request(Field::State, problem).found(root.display()));
            }
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        }
        let uploads = root.join("uploads");
        match fs::remove_dir_all(&uploads) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
            _ => fs::create_dir(&uploads).map_err(fail)?,
        }
        let store = Self {
            root: root.into(),
            _lock: lock,
        };
        let (records, problems) = store.recover(&jobs).map_err(fail)?;
        Ok((store, records, problems))
    }

    fn recover(&self, jobs: &Path) -> io::Result<(Vec<JobRecord>, Vec<String>)> {
        let (mut records, mut problems) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(jobs)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(id) = name.parse::<JobId>() else {
                // Anything else is not ours to remove.
                if name.starts_with(COMING) || name.starts_with(GONE) {
                    fs::remove_dir_all(entry.path())?;
                }
                continue;
            };
            match self.read(id) {
                Ok(Some(record)) => records.push(self.resume(record)?),
                Ok(None) => fs::remove_dir_all(entry.path())?,
                Err(problem) => {
                    let broken = self.root.join("broken");
                    fs::create_dir_all(&broken)?;
                    let to = broken.join(format!("{name}-{}", random_token()));
                    fs::rename(entry.path(), &to)?;
                    let to = to.display();
                    problems.push(format!(
                        "job {name} cannot be read: {problem}; it is in {to} now"
                    ));
                }
            }
        }
        records.sort_by_key(|record| record.id);
        Ok((records, problems))
    }

    /// A job as it goes on after whatever ended the process that had it.
    fn resume(&self, mut record: JobRecord) -> io::Result<JobRecord> {
        for part in fs::read_dir(self.folder(record.id))?.flatten() {
            let name = part.file_name();
            let is_part = name.to_string_lossy().starts_with('.');
            // Of a job that waits or begins again, the clip too.
            let is_early = !record.status.is_final()
                && [JobRecord::CLIP, JobRecord::THUMBNAIL, JobRecord::PREVIEW]
                    .iter()
                    .any(|n| name == *n);
            if is_part || is_early {
                fs::remove_file(part.path())?;
            }
        }
        if record.status == JobStatus::InProgress {
            record.status = JobStatus::Queued;
            record.has_preview = false;
            record.started_ms = None;
            if record.attempts >= ATTEMPTS {
                let message = "the server died twice while it ran this job";
                record.ended(
                    JobStatus::Failed,
                    Some(Refusal::new(Code::Internal, message)),
                );
            }
            self.save(&record)?;
        }
        Ok(record)
    }

    fn read(&self, id: JobId) -> Result<Option<JobRecord>, String> {
        let path = self.folder(id).join(RECORD);
        let length = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => meta.len(),
            Ok(_) => return Err(format!("{RECORD} is no file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        if length > MAX_RECORD_BYTES {
            return Err(format!("{RECORD} has {length} bytes"));
        }
        let bytes = fs::read(path).map_err(|e| e.to_string())?;
        let record: JobRecord = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        match record.id == id {
            true => Ok(Some(record)),
            false => Err(format!("{RECORD} is of job {}", record.id)),
        }
    }

    /// The folder of a job.
    pub(super) fn folder(&self, id: JobId) -> PathBuf {
        self.root.join("jobs").join(id.to_string())
    }

    /// An empty file for what a client sends.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(super) fn upload(&self) -> io::Result<(Upload, File)> {
        let path = self.root.join("uploads").join(random_token());
        let file = File::create_new(&path)?;
        Ok((Upload { path }, file))
    }

    /// Keeps a job and its inputs, each by the name that it has in the folder.
    ///
    /// # Errors
    /// If the system refuses it; then nothing is left.
    pub(super) fn create(&self, record: &JobRecord, inputs: &[(&str, Upload)]) -> io::Result<()> {
        let folder = self.folder(record.id);
        let coming = folder.with_file_name(format!("{COMING}{}", record.id));
        let write = || -> io::Result<()> {
            fs::create_dir(&coming)?;
            for (name, upload) in inputs {
                let to = coming.join(name);
                fs::rename(upload.path(), &to)?;
                File::open(&to)?.sync_all()?;
            }
            write_record(&coming, record)?;
            fs::rename(&coming, &folder)?;
            sync_folder_of(&folder)
        };
        write().inspect_err(|_| {
            drop(fs::remove_dir_all(&coming));
            drop(fs::remove_dir_all(&folder));
        })
    }

    /// Replaces what is kept of a job.
    ///
    /// # Errors
    /// If the system refuses it; then it is as before.
    pub(super) fn save(&self, record: &JobRecord) -> io::Result<()> {
        write_record(&self.folder(record.id), record)
    }

    /// Forgets a job. Its name is gone at once, its files a little later.
    ///
    /// # Errors
    /// If the system refuses it.
    pub(super) fn remove(&self, id: JobId) -> io::Result<()> {
        let folder = self.folder(id);
        let gone = folder.with_file_name(format!("{GONE}{id}"));
        fs::rename(&folder, &gone)?;
        sync_folder_of(&folder)?;
        // What cannot be removed now is at the next start.
        drop(fs::remove_dir_all(gone));
        Ok(())
    }

    /// Bytes that the disk has free for us.
    ///
    /// # Errors
    /// If the system does not say.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.root)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Bytes that the files of a job take.
    pub(super) fn bytes(&self, id: JobId) -> u64 {
        let Ok(files) = fs::read_dir(self.folder(id)) else {
            return 0;
        };
        let length = |file: fs::DirEntry| file.metadata().map_or(0, |meta| meta.len());
        files.flatten().map(length).sum()
    }
}

fn write_record(folder: &Path, record: &JobRecord) -> io::Result<()> {
    let part = folder.join(RECORD_PART);
    let mut file = File::create(&part)?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(RECORD))?;
    File::open(folder)?.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().expect("a job lies in a folder");
    File::open(folder)?.sync_all()
}
