//! What was asked for before, so that the same request that comes twice is one job.

use std::{collections::HashMap, fs, io};

use sha2::{Digest, Sha256};

use super::{
    id::JobId,
    queue::Snapshot,
    record::{JobRecord, Sender, now_ms},
    refusal::{Code, Refusal},
    store::Upload,
};

/// Time within which the same request of a client that did not hear the answer is the same job, milliseconds.
const REPEAT_MS: u64 = 120_000;
/// Time for which an idempotency key holds, milliseconds.
const KEY_MS: u64 = 24 * 3600 * 1000;

/// What has been asked for before.
#[derive(Default)]
pub(super) struct Creations {
    by_key: HashMap<String, JobId>,
    /// The last answer of each caller: the job, or none if it was a refusal.
    answered: HashMap<String, Option<JobId>>,
}

impl Creations {
    pub(super) fn of(records: &[JobRecord]) -> Self {
        let mut creations = Self::default();
        for record in records {
            creations.answer(&record.sender, Some(record.id));
        }
        creations
    }

    /// The job that a request was before.
    pub(super) fn known(
        &self,
        sender: &Sender,
        get: impl Fn(JobId) -> Option<Snapshot>,
    ) -> Result<Option<JobId>, Refusal> {
        let found = |id: &JobId| get(*id).map(|snapshot| snapshot.record);
        if let Some(key) = &sender.idempotency_key {
            let before = self.by_key.get(key).and_then(found);
            let before = before.filter(|record| now_ms() < record.created_ms + KEY_MS);
            return match before {
                Some(record) if record.sender.content == sender.content => Ok(Some(record.id)),
                Some(_) => Err(Refusal::new(
                    Code::IdempotencyMismatch,
                    "another request had this idempotency key; give each its own",
                )),
                None => Ok(None),
            };
        }
        if sender.retries == 0 {
            return Ok(None);
        }
        // Clients repeat a request whose answer was lost. If the last answer was another one, it was not.
        let last = self.answered.get(&sender.caller).copied().flatten();
        let last = last.as_ref().and_then(found).filter(|record| {
            record.sender.content == sender.content && now_ms() < record.created_ms + REPEAT_MS
        });
        Ok(last.map(|record| record.id))
    }

    /// Remembers what a request was answered with.
    pub(super) fn answer(&mut self, sender: &Sender, job: Option<JobId>) {
        if let (Some(key), Some(job)) = (&sender.idempotency_key, job) {
            self.by_key.insert(key.clone(), job);
        }
        self.answered.insert(sender.caller.clone(), job);
    }

    pub(super) fn forget_removed(&mut self, is_kept: impl Fn(JobId) -> bool) {
        self.by_key.retain(|_, id| is_kept(*id));
        self.answered.retain(|_, id| id.is_some_and(&is_kept));
    }
}

/// SHA-256 of what was asked, inputs included, so that two requests can be compared.
///
/// # Errors
/// If an input cannot be read.
pub fn content_hash(fields: &str, inputs: &[&Upload]) -> io::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(fields.as_bytes());
    for input in inputs {
        let bytes = fs::read(input.path())?;
        hasher.update(bytes.len().to_le_bytes());
        hasher.update(bytes);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
