//! Parameters of a job, gathered from what the clients of another door call them.

use serde_json::{Map, Value};

use super::shape::size_of;
use crate::{
    jobs::{Code, Refusal},
    pipeline::request::Defaults,
};

/// Parameters, each given once.
#[derive(Default)]
pub(super) struct Fields {
    own: Map<String, Value>,
    /// Rows, such as `720P`, and the name by which they were given.
    resolution: Option<(String, Value)>,
    /// Shape, such as `9:16`, and the name by which it was given.
    ratio: Option<(String, Value)>,
}

impl Fields {
    /// The parameter `own`, which the client calls `given`; `null` says nothing.
    ///
    /// # Errors
    /// If it was given before, by this name or another one.
    pub(super) fn put(&mut self, given: &str, own: &str, value: Value) -> Result<(), Refusal> {
        if value.is_null() {
            return Ok(());
        }
        if self.own.insert(own.into(), value).is_some() {
            return Err(twice(given));
        }
        Ok(())
    }

    /// The number of rows, in place of a size.
    pub(super) fn put_resolution(&mut self, given: &str, value: Value) {
        self.resolution = Some((given.into(), value)).filter(|(_, value)| !value.is_null());
    }

    /// The shape, in place of a size.
    pub(super) fn put_ratio(&mut self, given: &str, value: Value) {
        self.ratio = Some((given.into(), value)).filter(|(_, value)| !value.is_null());
    }

    /// The value of a parameter, which is no parameter any more.
    pub(super) fn take(&mut self, own: &str) -> Option<Value> {
        self.own.remove(own)
    }

    /// All of them, with the size that rows and shape mean.
    ///
    /// # Errors
    /// For rows and a shape that are none, or that stand beside a size.
    pub(super) fn finish(mut self, defaults: Defaults) -> Result<Map<String, Value>, Refusal> {
        let beside = self.resolution.as_ref().or(self.ratio.as_ref());
        match (beside, self.own.contains_key("size")) {
            (Some((given, _)), true) => {
                let problem = "cannot stand beside `size`, which says it too; give one of them";
                Err(Refusal::of(Code::InvalidSize, given, problem))
            }
            (None, _) => Ok(self.own),
            (Some(_), false) => {
                let size = size_of(self.resolution.as_ref(), self.ratio.as_ref(), defaults)?;
                let size = size.map(|size| ("size".into(), size.into()));
                self.own.extend(size);
                Ok(self.own)
            }
        }
    }
}

/// `given` says what was said before.
fn twice(given: &str) -> Refusal {
    let problem = "was given twice, or beside another name for the same; give it once";
    Refusal::of(Code::InvalidValue, given, problem)
}
