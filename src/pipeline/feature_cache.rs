//! Text features of prompts that were encoded before.

use std::sync::{Mutex, PoisonError};

use crate::{Result, Tensor};

/// Features by what they depend on beside the model: the tokens, and whether the soft-cap is on. Those that were not
/// used for the longest time go first.
#[derive(Default)]
pub(super) struct FeatureCache {
    budget: u64,
    /// The most recently used last.
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    ids: Vec<u32>,
    softcap: bool,
    features: Tensor,
}

impl FeatureCache {
    /// Keeps at most `budget` bytes of features.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            entries: Mutex::default(),
        }
    }

    /// The features of tokens, as they were encoded before or as `encode` makes them.
    ///
    /// # Errors
    /// Those of `encode`.
    pub(super) fn get(
        &self,
        ids: &[u32],
        softcap: bool,
        encode: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |entry: &Entry| entry.ids == ids && entry.softcap == softcap;
        let entry = match entries.iter().position(is_it) {
            Some(at) => entries.remove(at),
            None => Entry {
                ids: ids.to_vec(),
                softcap,
                features: encode()?,
            },
        };
        let features = entry.features.clone();
        entries.push(entry);
        let bytes = |entry: &Entry| entry.features.bytes().len() as u64;
        while entries.iter().map(bytes).sum::<u64>() > self.budget {
            entries.remove(0);
        }
        Ok(features)
    }
}
