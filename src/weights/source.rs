//! Tensors by name, and the check that they are what the model requires.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

use super::origin::Origin;
use crate::{DType, Error, Result, Shape, Tensor};

/// Shape and stored element type of a tensor, known without reading its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Extents, outermost first.
    pub shape: Shape,
    /// Element type in the file.
    pub dtype: DType,
}

impl Info {
    /// Bytes of the tensor.
    pub fn bytes(&self) -> u64 {
        (self.shape.count() * self.dtype.size()) as u64
    }
}

/// Tensors by name.
pub trait Source: Send + Sync {
    /// Every name, in a fixed order, including tensors that cannot be loaded (because their file is missing, for
    /// example).
    fn names(&self) -> Vec<String>;

    /// Shape and type of `name`; `None` if there is no such tensor or it cannot be loaded ([`Source::load`] tells
    /// why).
    fn info(&self, name: &str) -> Option<Info>;

    /// The tensor as stored, mapped where possible.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is no such tensor, its file is missing, or its element type has no [`DType`].
    fn load(&self, name: &str) -> Result<Tensor>;

    /// The file that holds or should hold `name`, for messages.
    fn path(&self, name: &str) -> PathBuf;

    /// Checks that the files are as they were when they were opened. Tensors are views of them, so what is computed from
    /// tensors is right only if this holds afterwards.
    ///
    /// # Errors
    /// [`Error::Weights`] with the file that somebody has written to, or that could not be read.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// Origin of the values that [`Source::load`] gives.
    ///
    /// # Errors
    /// As [`Source::load`].
    fn origin(&self, name: &str) -> Result<Origin> {
        self.load(name).map(Origin::Stored)
    }
}

/// A tensor that a model requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The checkpoint's name.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Shape,
    /// Element type as used: f32, bf16 or E4M3. A bf16 weight may be stored as f32.
    pub dtype: DType,
}

impl TensorSpec {
    /// The spec of a required tensor.
    pub fn new(name: impl Into<String>, shape: impl Into<Shape>, dtype: DType) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            dtype,
        }
    }
}

/// A source whose tensors are checked against specs before they are used. Cloning shares the source.
#[derive(Clone)]
pub struct Weights {
    source: Arc<dyn Source>,
    accepts_any_float: bool,
    may_have_more_rows: Vec<String>,
}

impl Weights {
    /// All tensors of `source`. They must be stored as the specs say: f32 where f32 is used, bf16 or f32 where bf16
    /// is.
    pub fn new(source: Box<dyn Source>) -> Self {
        Self {
            source: source.into(),
            accepts_any_float: false,
            may_have_more_rows: Vec::new(),
        }
    }

    /// Also accepts f32, bf16 or f16 for every tensor.
    #[must_use]
    pub fn accepting_any_float(mut self) -> Self {
        self.accepts_any_float = true;
        self
    }

    /// Also accepts more rows of `name` than required; the rest is not used.
    #[must_use]
    pub fn allowing_more_rows(mut self, name: impl Into<String>) -> Self {
        self.may_have_more_rows.push(name.into());
        self
    }

    /// These weights over another source that is made from this one.
    #[must_use]
    pub(super) fn over(mut self, source: impl FnOnce(Arc<dyn Source>) -> Arc<dyn Source>) -> Self {
        self.source = source(self.source);
        self
    }

    /// Whether both were opened as one: they share the source.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// Checks that every required tensor exists with its shape and an acceptable element type. Reads no tensor's
    /// bytes.
    ///
    /// # Errors
    /// [`Error::Weights`] with all missing names, or with the first tensor of another shape or type.
    pub fn check(&self, required: &[TensorSpec]) -> Result<()> {
        let present: HashSet<String> = self.source.names().into_iter().collect();
        let missing: Vec<&str> = required
            .iter()
            .map(|spec| spec.name.as_str())
            .filter(|name| !present.contains(*name))
            .collect();
        if let Some(first) = missing.first() {
            let problem = format!("lacks {} that the model needs", list(&missing));
            return Err(Error::weights(self.source.path(first), problem));
        }
        required.iter().try_for_each(|spec| self.check_one(spec))
    }

    /// Checks that the source holds no tensor that is not required; `required` is the union over all its users.
    ///
    /// # Errors
    /// [`Error::Weights`] with the names that are not required.
    pub fn check_nothing_left(&self, required: &[TensorSpec]) -> Result<()> {
        let required_names: HashSet<&str> =
            required.iter().map(|spec| spec.name.as_str()).collect();
        let names = self.source.names();
        let left: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !required_names.contains(name))
            .collect();
        let Some(first) = left.first() else {
            return Ok(());
        };
        if self.source.info(first).is_none() {
            // The source tells why it cannot be loaded, such as that its file is not there.
            self.source.load(first)?;
        }
        let problem = format!(
            "holds {} that the model does not have; is it another model's?",
            list(&left)
        );
        Err(Error::weights(self.source.path(first), problem))
    }

    /// The tensor in its stored element type, with exactly the required shape; the caller rounds it.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing or does not match `spec`.
    pub fn load(&self, spec: &TensorSpec) -> Result<Tensor> {
        self.check_one(spec)?;
        let tensor = self.source.load(&spec.name)?;
        Ok(first_rows(tensor, &spec.shape))
    }

    /// Origin of the values that [`Weights::load`] gives.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing or does not match `spec`.
    pub fn origin(&self, spec: &TensorSpec) -> Result<Origin> {
        self.check_one(spec)?;
        Ok(match self.source.origin(&spec.name)? {
            Origin::Stored(tensor) => Origin::Stored(first_rows(tensor, &spec.shape)),
            other => other,
        })
    }

    /// Row-major index of the tensor's first NaN or infinity.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub fn first_not_finite(&self, spec: &TensorSpec) -> Result<Option<usize>> {
        let tensor = self.load(spec)?;
        Ok(first_not_finite(&tensor, 0..tensor.count()))
    }

    /// The file that holds or should hold `name`, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.source.path(name)
    }

    /// Checks that the files are as they were when they were opened; see [`Source::check_unchanged`].
    ///
    /// # Errors
    /// [`Error::Weights`].
    pub fn check_unchanged(&self) -> Result<()> {
        self.source.check_unchanged()
    }

    /// The tensors, unchecked.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    fn check_one(&self, spec: &TensorSpec) -> Result<()> {
        let fail =
            |problem: String| Error::tensor(self.source.path(&spec.name), &spec.name, problem);
        let Some(found) = self.source.info(&spec.name) else {
            // The source tells why it cannot be loaded.
            self.source.load(&spec.name)?;
            return Err(fail("cannot be used".into()));
        };
        let more_rows = self.may_have_more_rows.contains(&spec.name);
        let shape_fits = found.shape == spec.shape
            || (more_rows && has_more_rows(found.shape.extents(), spec.shape.extents()));
        if shape_fits && self.accepts(spec.dtype, found.dtype) {
            return Ok(());
        }
        let least = if more_rows { " of at least" } else { "" };
        Err(fail(format!(
            "must be {}{least} {}; found {} {}",
            spec.dtype, spec.shape, found.dtype, found.shape
        )))
    }

    fn accepts(&self, used: DType, stored: DType) -> bool {
        let is_float = matches!(stored, DType::F32 | DType::Bf16 | DType::F16);
        used == stored
            || (used == DType::Bf16 && stored == DType::F32)
            || (self.accepts_any_float && is_float && used != DType::E4m3)
    }
}

/// Keeps a tensor alive behind a view of its first rows.
struct Whole(Tensor);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// The first rows of `tensor`, as many as `shape` has.
fn first_rows(tensor: Tensor, shape: &Shape) -> Tensor {
    if tensor.shape() == shape {
        return tensor;
    }
    let (dtype, bytes) = (tensor.dtype(), shape.count() * tensor.dtype().size());
    Tensor::shared(shape.clone(), dtype, Arc::new(Whole(tensor)), 0..bytes)
}

fn has_more_rows(found: &[usize], required: &[usize]) -> bool {
    match (found, required) {
        ([rows, rest @ ..], [least, other @ ..]) => rows >= least && rest == other,
        _ => false,
    }
}

/// Up to twelve names, and the number of the rest.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    let tensors = match names.len() {
        1 => "the tensor".to_string(),
        count => format!("{count} tensors"),
    };
    match names.len().saturating_sub(SHOWN) {
        0 => format!("{tensors} {}", shown.join(", ")),
        more => format!("{tensors} {} and {more} more", shown.join(", ")),
    }
}

/// Some of another source's tensors under other names.
pub struct Selected {
    source: Box<dyn Source>,
    /// Our name -> the source's name.
    names: BTreeMap<String, String>,
}

impl Selected {
    /// The tensors that `rename` gives a name; the others are hidden.
    ///
    /// # Errors
    /// [`Error::Weights`] if two tensors get the same name.
    pub fn new(source: Box<dyn Source>, rename: fn(&str) -> Option<String>) -> Result<Self> {
        let mut names = BTreeMap::new();
        for theirs in source.names() {
            let Some(ours) = rename(&theirs) else {
                continue;
            };
            if let Some(other) = names.insert(ours, theirs.clone()) {
                let problem = format!("and `{other}` are one tensor under two names; remove one");
                return Err(Error::tensor(source.path(&theirs), theirs, problem));
            }
        }
        Ok(Self { source, names })
    }
}

impl Source for Selected {
    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        self.source.info(self.names.get(name)?)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        self.source
            .load(self.names.get(name).map_or(name, String::as_str))
    }

    fn check_unchanged(&self) -> Result<()> {
        self.source.check_unchanged()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.source
            .path(self.names.get(name).map_or(name, String::as_str))
    }

    fn origin(&self, name: &str) -> Result<Origin> {
        match self.names.get(name) {
            Some(theirs) => self.source.origin(theirs),
            None => self.load(name).map(Origin::Stored),
        }
    }
}

/// Checks that a tensor holds no NaN and no infinity.
///
/// # Errors
/// [`Error::Weights`] with the file, the tensor and the row-major index of the first such element.
pub fn check_finite(path: &Path, name: &str, tensor: &Tensor) -> Result<()> {
    match first_not_finite(tensor, 0..tensor.count()) {
        None => Ok(()),
        Some(index) => {
            let problem = format!(
                "holds NaN or infinity, first at element {index} of {}; the file is damaged or its training \
                 went wrong",
                tensor.shape()
            );
            Err(Error::tensor(path, name, problem))
        }
    }
}

/// Whether elements `range` (row-major) hold no NaN and no infinity.
pub fn is_finite(tensor: &Tensor, range: Range<usize>) -> bool {
    first_not_finite(tensor, range).is_none()
}

/// Row-major index, from the start of `range`, of the first NaN or infinity: the first element whose exponent bits are
/// all ones; for E4M3, which has no infinity, all bits but the sign.
fn first_not_finite(tensor: &Tensor, range: Range<usize>) -> Option<usize> {
    let size = tensor.dtype().size();
    let bytes = &tensor.bytes()[range.start * size..range.end * size];
    match tensor.dtype() {
        DType::F32 => first(bytes, |b| {
            u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000
        }),
        DType::Bf16 => first(bytes, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
        DType::F16 => first(bytes, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
        DType::E4m3 => first(bytes, |[b]| b & 0x7f == 0x7f),
        DType::U8 | DType::I16 | DType::I32 => None,
    }
}

fn first<const N: usize>(bytes: &[u8], test: impl Fn([u8; N]) -> bool + Sync) -> Option<usize> {
    /// Elements per task; the inner loop has no early exit, so that it vectorises.
    const BLOCK: usize = 1 << 16;
    let elements = bytes.as_chunks::<N>().0;
    let block = elements
        .par_chunks(BLOCK)
        .position_first(|block| block.iter().fold(false, |any, &b| any | test(b)))?;
    let start = block * BLOCK;
    let within = elements[start..].iter().position(|&b| test(b))?;
    Some(start + within)
}
