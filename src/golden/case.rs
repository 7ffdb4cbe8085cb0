//! Suites and cases: the index of a suite, and the tensors of its files.

use std::{
    borrow::Cow,
    collections::HashMap,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Error, Result, Shape, Tensor,
    error::GivenFile,
    executor::{Executor, Prepare, Program, required_tensors},
    plan::Plan,
    qualify::Check,
    weights::{Architecture, Info, Source, Synthetic, Weights, safetensors::from_file_dtype},
};

/// Longest file of a case that is read.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Where a suite's files are.
enum Files {
    Folder(PathBuf),
    Embedded(&'static [(&'static str, &'static [u8])]),
}

/// A folder of golden cases.
pub struct Suite {
    name: String,
    files: Files,
    index: Value,
}

impl Suite {
    /// The suite in `folder`.
    ///
    /// # Errors
    /// [`Error::Input`] if its `index.json` cannot be read or has no list of cases.
    pub fn open(folder: &Path) -> Result<Self> {
        Self::new(
            folder.display().to_string(),
            Files::Folder(folder.to_path_buf()),
        )
    }

    /// A suite in the binary: an `index.json` and its files.
    ///
    /// # Errors
    /// As [`Suite::open`].
    pub fn embedded(name: &str, files: &'static [(&'static str, &'static [u8])]) -> Result<Self> {
        Self::new(name.into(), Files::Embedded(files))
    }

    fn new(name: String, files: Files) -> Result<Self> {
        let mut suite = Self {
            name,
            files,
            index: Value::Null,
        };
        let text = suite.file("index.json")?;
        let index: Value =
            serde_json::from_slice(&text).map_err(|e| suite.bad(format!("index.json: {e}")))?;
        if !index["cases"].is_array() {
            return Err(suite.bad("index.json has no list `cases`"));
        }
        suite.index = index;
        Ok(suite)
    }

    /// The folder, or the name of an embedded suite.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its cases in the order of the index.
    pub fn cases(&self) -> impl Iterator<Item = GoldenCase<'_>> {
        self.index["cases"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| GoldenCase { suite: self, entry })
    }

    /// The bytes of one of its files.
    ///
    /// # Errors
    /// [`Error::Input`] if it does not exist.
    pub fn file(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        match &self.files {
            Files::Folder(folder) => {
                let path = folder.join(name);
                GivenFile::Input.read(&path, MAX_FILE_BYTES).map(Cow::Owned)
            }
            Files::Embedded(files) => {
                let found = files.iter().find(|(file, _)| *file == name);
                found
                    .map(|(_, bytes)| Cow::Borrowed(*bytes))
                    .ok_or_else(|| self.bad(format!("has no file `{name}`")))
            }
        }
    }

    fn bad(&self, problem: impl Into<String>) -> Error {
        Error::input(&self.name, problem)
    }
}

/// One case: an entry of the index.
#[derive(Clone, Copy)]
pub struct GoldenCase<'a> {
    suite: &'a Suite,
    entry: &'a Value,
}

impl<'a> GoldenCase<'a> {
    /// Its name; empty if the index gives none.
    pub fn name(&self) -> &'a str {
        self.entry["name"].as_str().unwrap_or_default()
    }

    /// Its kind; empty if the index gives none.
    pub fn kind(&self) -> &'a str {
        self.entry["kind"].as_str().unwrap_or_default()
    }

    /// Its suite.
    pub fn suite(&self) -> &'a Suite {
        self.suite
    }

    /// The index's entry.
    pub fn entry(&self) -> &'a Value {
        self.entry
    }

    /// The entry's field `name`.
    ///
    /// # Errors
    /// [`Error::Input`] if it is missing or of another type.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self
            .entry
            .get(name)
            .ok_or_else(|| self.bad(format!("the index gives no `{name}`")))?;
        T::deserialize(value).map_err(|e| self.bad(format!("`{name}` of the index: {e}")))
    }

    /// A number by its path in the entry: `["measured", "out.video", "accept_f32_rel_l2"]`.
    ///
    /// # Errors
    /// [`Error::Input`] if it is missing or not a number.
    pub fn number(&self, path: &[&str]) -> Result<f64> {
        let value = path
            .iter()
            .try_fold(self.entry, |value, key| value.get(key));
        value
            .and_then(Value::as_f64)
            .ok_or_else(|| self.bad(format!("the index gives no number `{}`", path.join("."))))
    }

    /// Synthetic weights for `plan`, of the index's seed.
    pub(super) fn synthetic(&self, network: Architecture, plan: &Plan) -> Result<Synthetic> {
        Synthetic::new(
            network,
            &required_tensors(plan),
            self.field("weights_seed")?,
        )
    }

    /// `plan` with these weights, ready to run; with `taps` every step's result can be read.
    pub(super) fn program(
        &self,
        executor: &dyn Executor,
        network: Architecture,
        plan: &Plan,
        taps: bool,
    ) -> Result<Box<dyn Program>> {
        let weights = Weights::new(Box::new(self.synthetic(network, plan)?));
        let how = Prepare {
            taps,
            ..Prepare::default()
        };
        executor.load_and_prepare(plan, &weights, &how)
    }

    /// The tensors of its file.
    ///
    /// # Errors
    /// [`Error::Input`] if the file is missing or damaged.
    pub fn tensors(&self) -> Result<Tensors> {
        let file: String = self.field("file")?;
        let bytes = self.suite.file(&file)?;
        let name = format!("{}/{file}", self.suite.name);
        let parsed = safetensors::SafeTensors::deserialize(&bytes)
            .map_err(|e| Error::input(&name, e.to_string()))?;
        let mut tensors = HashMap::new();
        for (label, view) in parsed.iter() {
            let dtype = from_file_dtype(view.dtype())
                .ok_or_else(|| Error::input(&name, format!("`{label}` is {:?}", view.dtype())))?;
            tensors.insert(
                label.to_string(),
                Tensor::from_bytes(Shape::from(view.shape()), dtype, view.data()),
            );
        }
        Ok(Tensors { name, tensors })
    }

    /// An error about this case.
    pub fn bad(&self, problem: impl Into<String>) -> Error {
        Error::input(
            format!("{}, case `{}`", self.suite.name, self.name()),
            problem,
        )
    }
}

/// The tensors of a case's file.
pub struct Tensors {
    name: String,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    /// The tensor `label`.
    ///
    /// # Errors
    /// [`Error::Input`] if it does not exist.
    pub fn get(&self, label: &str) -> Result<&Tensor> {
        self.tensors
            .get(label)
            .ok_or_else(|| Error::input(&self.name, format!("has no tensor `{label}`")))
    }

    /// How far `got` is from the tensor `label`, relative to its length.
    pub(super) fn relative_l2(
        &self,
        what: impl Into<String>,
        got: &[f32],
        label: &str,
        allowed: f64,
    ) -> Result<Check> {
        let want = self.get(label)?.to_f32();
        Ok(Check::relative_l2(what, got, &want, allowed))
    }

    /// The largest difference of `got` from the tensor `label`.
    pub(super) fn max_abs(
        &self,
        what: impl Into<String>,
        got: &[f32],
        label: &str,
        allowed: f64,
    ) -> Result<Check> {
        let want = self.get(label)?.to_f32();
        Ok(Check::max_abs(what, got, &want, allowed))
    }

    /// Whether there is a tensor `label`.
    pub fn has(&self, label: &str) -> bool {
        self.tensors.contains_key(label)
    }

    /// All labels, sorted.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        labels.sort_unstable();
        labels
    }
}

/// Weights in memory, and synthetic ones for the names that are not among them.
pub(super) struct Given {
    pub(super) tensors: Vec<(String, Tensor)>,
    pub(super) rest: Option<Synthetic>,
}

impl Given {
    fn own(&self, name: &str) -> Option<&Tensor> {
        let found = self.tensors.iter().find(|(own, _)| own == name);
        found.map(|(_, tensor)| tensor)
    }
}

impl Source for Given {
    fn names(&self) -> Vec<String> {
        let own = self.tensors.iter().map(|(name, _)| name.clone());
        let rest = self.rest.as_ref().map_or_else(Vec::new, Source::names);
        let rest = rest.into_iter().filter(|name| self.own(name).is_none());
        own.chain(rest).collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        let Some(own) = self.own(name) else {
            return self.rest.as_ref()?.info(name);
        };
        let (shape, dtype) = (own.shape().clone(), own.dtype());
        Some(Info { shape, dtype })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        match (self.own(name), &self.rest) {
            (Some(own), _) => Ok(own.clone()),
            (None, Some(rest)) => rest.load(name),
            (None, None) => Err(Error::weights(name, "is not given")),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

/// Rows of `cols` values with rows and columns exchanged.
pub(super) fn transposed(values: &[f32], cols: usize) -> Vec<f32> {
    (0..cols)
        .flat_map(|col| values[col..].iter().step_by(cols).copied())
        .collect()
}
