//! Networks that are loaded: shared by the programs of a stage, and kept for the next one that needs them as far as a
//! budget allows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Error, Result,
    executor::{Executor, Loaded, Prepare, Program},
    plan::{Plan, TensorList},
    weights::Weights,
};

/// Loaded networks; those that were not used for the longest time go first.
#[derive(Default)]
pub struct WeightCache {
    /// What may stay between stages.
    budget: u64,
    /// The most recently used last.
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    weights: Weights,
    tensors: TensorList,
    loaded: Arc<dyn Loaded>,
}

impl WeightCache {
    /// Keeps at most `budget` bytes of the device's memory between stages; with 0 nothing stays, whatever it takes.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            entries: Mutex::default(),
        }
    }

    /// `plan` made ready with `weights`, which are loaded unless they are. Where memory is short, other networks go
    /// before an error is raised, and before layers are streamed.
    ///
    /// # Errors
    /// The executor's.
    pub fn prepare(
        &self,
        executor: &dyn Executor,
        plan: &Plan,
        weights: &Weights,
        how: &Prepare,
    ) -> Result<Box<dyn Program>> {
        let tensors = TensorList::of(plan);
        let mut entries = self.entries();
        let is_it = |e: &Entry| e.weights.is_same(weights) && e.tensors.has_all_of(&tensors);
        while let Some(at) = entries.iter().position(is_it) {
            let entry = entries.remove(at);
            let made = executor.prepare(plan, &entry.loaded, how);
            entries.push(entry);
            match made {
                // At last the network itself: it is loaded again, with as much of it streamed as must be.
                Err(Error::Memory { .. }) => drop(entries.remove(0)),
                made => return made,
            }
        }
        let needs = loop {
            match executor.check(plan, how) {
                Err(Error::Memory { .. }) if !entries.is_empty() => drop(entries.remove(0)),
                needs => break needs?,
            }
        };
        while !entries.is_empty() && needs.with(needs.weights) > executor.free_bytes()? {
            entries.remove(0);
        }
        let loaded = executor.load(weights, &tensors, needs.with(0), how)?;
        let made = executor.prepare(plan, &loaded, how);
        entries.push(Entry {
            weights: weights.clone(),
            tensors,
            loaded,
        });
        made
    }

    /// Whether `plan` will fit, if everything that is loaded goes.
    ///
    /// # Errors
    /// The executor's.
    pub fn check(&self, executor: &dyn Executor, plan: &Plan, how: &Prepare) -> Result<()> {
        match executor.check(plan, how) {
            Err(Error::Memory {
                need_bytes,
                have_bytes,
                ..
            }) if need_bytes <= have_bytes.saturating_add(self.bytes()) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Bytes of the device's memory that are taken.
    pub fn bytes(&self) -> u64 {
        bytes(&self.entries())
    }

    /// Lets go of what is beyond the budget; called when a stage ends.
    pub fn release(&self) {
        let mut entries = self.entries();
        if self.budget == 0 {
            entries.clear();
        }
        while bytes(&entries) > self.budget {
            entries.remove(0);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.loaded.bytes()).sum()
}
