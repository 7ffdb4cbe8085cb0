//! Files that clients send before the jobs that they are for.

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::jobs::{Code, Jobs, Refusal, Upload, random_token};

/// Files that were sent before the job that they are for.
#[derive(Default)]
pub(super) struct Uploads(Mutex<HashMap<String, Place>>);

/// A place for one file.
struct Place {
    until: Instant,
    file: Option<Arc<Upload>>,
}

impl Uploads {
    /// How long a place is kept.
    pub(super) const KEEP: Duration = Duration::from_secs(3600);
    /// Places at a time.
    const MOST: usize = 256;

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        places.retain(|_, place| place.until > now);
        places
    }

    /// A new place.
    pub(super) fn open(&self) -> Result<String, Refusal> {
        let mut places = self.lock();
        if places.len() >= Self::MOST {
            let message = "too many uploads wait for their jobs; ask again later";
            return Err(Refusal::new(Code::QueueFull, message));
        }
        let token = random_token();
        let until = Instant::now() + Self::KEEP;
        places.insert(token.clone(), Place { until, file: None });
        Ok(token)
    }

    /// Whether a place waits for its file.
    pub(super) fn is_free(&self, token: &str) -> bool {
        self.lock()
            .get(token)
            .is_some_and(|place| place.file.is_none())
    }

    /// Puts a file into its place; `false` if another one is there already.
    pub(super) fn fill(&self, token: &str, file: Upload) -> bool {
        match self.lock().get_mut(token) {
            Some(place) if place.file.is_none() => {
                place.file = Some(Arc::new(file));
                true
            }
            _ => false,
        }
    }

    /// A copy of the file that `url` names, since another job may name it too.
    pub(super) fn copy(&self, jobs: &Jobs, name: &str, url: &str) -> Result<Upload, Refusal> {
        let path = url.strip_prefix("oss://");
        let token = path.and_then(|path| path.split('/').next());
        let places = self.lock();
        let place = token.and_then(|token| places.get(token));
        let file = place.and_then(|place| place.file.clone());
        drop(places);
        let problem = "is no file that was uploaded here within the last hour";
        let file = file.ok_or_else(|| Refusal::of(Code::InvalidValue, name, problem))?;
        let (upload, mut to) = jobs.upload()?;
        let copied = fs::File::open(file.path()).and_then(|mut from| io::copy(&mut from, &mut to));
        copied.map_err(|e| Refusal::new(Code::Internal, format!("an upload is gone: {e}")))?;
        Ok(upload)
    }
}
