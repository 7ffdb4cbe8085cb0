//! Tensors in memory as a source of weights.

use std::{collections::BTreeMap, path::PathBuf};

use gallop::{
    Error, Result, Tensor,
    weights::{Info, Source},
};

/// Tensors by name.
pub(crate) struct InMemory(pub(crate) BTreeMap<String, Tensor>);

impl Source for InMemory {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        let tensor = self.0.get(name)?;
        Some(Info {
            shape: tensor.shape().clone(),
            dtype: tensor.dtype(),
        })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let tensor = self.0.get(name).cloned();
        tensor.ok_or_else(|| Error::tensor(self.path(name), name, "is missing"))
    }

    fn path(&self, _: &str) -> PathBuf {
        "memory".into()
    }
}
