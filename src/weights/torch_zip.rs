//! Torch files (`.pth`, `.ckpt`): a zip of one pickle, and one member per storage.
//!
//! Torch stores members uncompressed, so tensors are views of the mapped file. Compressed members are refused: torch
//! writes none, and only they could expand beyond the file's size. The pickle is read by [`super::pickle`], which
//! cannot run anything. A tensor that is not contiguous is copied into order on loading; its size is bounded by its
//! storage.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    map::Mapped,
    pickle::{Node, Pickle, Storage, Strided, Value},
    source::{Info, Source},
    zip::Zip,
};
use crate::{DType, Error, Result, Shape, Tensor};

/// A mapped torch file.
pub struct TorchFile {
    path: PathBuf,
    map: Arc<Mapped>,
    entries: BTreeMap<String, TorchEntry>,
}

/// One tensor of a torch file.
#[derive(Debug)]
pub struct TorchEntry {
    shape: Shape,
    /// Element type, or torch's word for one without a [`DType`].
    dtype: std::result::Result<DType, String>,
    /// Elements from one index to the next, per axis; `None` if contiguous.
    strides: Option<Vec<usize>>,
    /// Bytes from the first element to the end of the last, counted from the start of the file.
    range: Range<usize>,
}

impl TorchFile {
    /// Opens a file that pickles a dict of tensors, or a dict whose item `key` is one.
    ///
    /// # Errors
    /// As [`parse`]; also if the file cannot be read.
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self> {
        let map = Arc::new(Mapped::open(path)?);
        let entries = parse(path, (*map).as_ref(), key)?;
        Ok(Self {
            path: path.to_path_buf(),
            map,
            entries,
        })
    }

    fn entry(&self, name: &str) -> Result<&TorchEntry> {
        self.entries
            .get(name)
            .ok_or_else(|| Error::tensor(&self.path, name, "is missing"))
    }
}

impl Source for TorchFile {
    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        let TorchEntry { shape, dtype, .. } = self.entries.get(name)?;
        Some(Info {
            shape: shape.clone(),
            dtype: dtype.clone().ok()?,
        })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let entry = self.entry(name)?;
        let dtype = entry.dtype.clone().map_err(|class| {
            let problem =
                format!("is a {class}; must be a float, half, bfloat16, byte, short or int tensor");
            Error::tensor(&self.path, name, problem)
        })?;
        let shape = entry.shape.clone();
        let Some(strides) = &entry.strides else {
            return Ok(Tensor::shared(
                shape,
                dtype,
                self.map.clone(),
                entry.range.clone(),
            ));
        };
        let bytes = &(*self.map).as_ref()[entry.range.clone()];
        let ordered = in_order(bytes, dtype.size(), shape.extents(), strides);
        Ok(Tensor::from_bytes(shape, dtype, &ordered))
    }

    fn check_unchanged(&self) -> Result<()> {
        let outcome = self.map.check_unchanged();
        outcome.map_err(|problem| Error::weights(&self.path, problem))
    }

    fn path(&self, _name: &str) -> PathBuf {
        self.path.clone()
    }
}

/// The tensors of the torch file `bytes`: those of the top dict, or of its item `key` if it has one.
///
/// # Errors
/// [`Error::Weights`] if it is no torch zip, or has compressed members, a pickle that is not a dict of tensors, or a
/// tensor that exceeds its storage.
pub fn parse(path: &Path, bytes: &[u8], key: Option<&str>) -> Result<BTreeMap<String, TorchEntry>> {
    let fail = |problem: String| Error::weights(path, problem);
    let zip = Zip::parse(bytes).map_err(fail)?;
    let root = root(&zip).map_err(fail)?;
    if let Some(order) = zip.member(&format!("{root}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err(fail("must be little-endian; save it again".into()));
    }
    let pickle = zip
        .member(&format!("{root}data.pkl"))
        .map(|range| Pickle::parse(&bytes[range.clone()]));
    let pickle = pickle
        .unwrap_or_else(|| Err("lacks data.pkl".into()))
        .map_err(fail)?;
    let tensors = tensors(&pickle, key).map_err(fail)?;
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let member = zip.member(&format!("{root}data/{}", tensor.storage.key));
            let entry = TorchEntry::new(tensor, member.cloned())
                .map_err(|problem| Error::tensor(path, name, problem))?;
            Ok((name.to_string(), entry))
        })
        .collect()
}

/// What precedes `data.pkl` in the members' names.
fn root(zip: &Zip<'_>) -> std::result::Result<String, String> {
    let mut roots = zip
        .names()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|root| root.is_empty() || root.ends_with('/'));
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root.to_string()),
        (Some(_), Some(_)) => Err("has more than one data.pkl".into()),
        (None, _) => Err("is a zip without data.pkl; must be a file saved by torch".into()),
    }
}

/// Name and record of each tensor in the dict.
fn tensors<'p, 'a>(
    pickle: &'p Pickle<'a>,
    key: Option<&str>,
) -> std::result::Result<BTreeMap<&'a str, &'p Strided<'a>>, String> {
    let top = dict(pickle, pickle.top())?;
    let inner = key.and_then(|key| top.iter().find(|(name, _)| pickle.str(*name) == Some(key)));
    let items = match inner {
        Some(&(_, value)) => dict(pickle, value)?,
        None => top,
    };
    let mut found = BTreeMap::new();
    for &(name, value) in items {
        if let (Some(name), Some(Node::Tensor(tensor))) = (pickle.str(name), pickle.node(value))
            && found.insert(name, tensor).is_some()
        {
            return Err(format!("has `{name}` twice"));
        }
    }
    if found.is_empty() {
        let keys = items.iter().filter_map(|&(name, _)| pickle.str(name));
        let keys: Vec<&str> = keys.take(12).collect();
        return Err(format!(
            "holds no tensors where they should be{}; its keys are {keys:?}",
            key.map(|key| format!(", under `{key}`"))
                .unwrap_or_default()
        ));
    }
    Ok(found)
}

fn dict<'p>(
    pickle: &'p Pickle<'_>,
    value: Value,
) -> std::result::Result<&'p [(Value, Value)], String> {
    let found = match pickle.node(value) {
        Some(Node::Dict(items)) => return Ok(items),
        Some(Node::Made(module, name)) => {
            format!("a call of `{module}.{name}`, which is never made")
        }
        Some(Node::Tensor(_)) => "a tensor".into(),
        Some(Node::List(_) | Node::Tuple(_)) => "a list".into(),
        _ => "a plain value".into(),
    };
    Err(format!("must hold a dict of tensors; found {found}"))
}

impl TorchEntry {
    fn new(
        tensor: &Strided<'_>,
        member: Option<Range<usize>>,
    ) -> std::result::Result<Self, String> {
        let Storage { class, key, count } = tensor.storage;
        let dtype = dtype(class);
        let member = member.ok_or_else(|| format!("lacks its storage, member data/{key}"))?;
        let too_large = || format!("has a shape {:?} too large for its storage", tensor.sizes);
        let unsigned = |values: &[i64]| -> Option<Vec<usize>> {
            values.iter().map(|&n| usize::try_from(n).ok()).collect()
        };
        let shape = unsigned(&tensor.sizes)
            .and_then(|sizes| Shape::checked(&sizes))
            .ok_or_else(too_large)?;
        let strides = unsigned(&tensor.strides)
            .filter(|strides| strides.len() == shape.rank())
            .ok_or_else(|| format!("has strides {:?} for shape {shape}", tensor.strides))?;
        // Types without a [`DType`] count as one element of one byte, which is all that can be checked.
        let size = dtype.as_ref().map_or(1, |dtype| dtype.size());
        let count = usize::try_from(count).ok();
        let bytes = count.and_then(|count| count.checked_mul(size));
        if dtype.is_ok() && bytes != Some(member.len()) {
            return Err(format!(
                "has a storage of {} bytes; must be {} elements of {size} bytes",
                member.len(),
                tensor.storage.count
            ));
        }
        let span = span(shape.extents(), &strides).ok_or_else(too_large)?;
        let offset = usize::try_from(tensor.offset).map_err(|_| too_large())?;
        let available = count.ok_or_else(too_large)?;
        // `count <= available` also bounds a view with zero strides.
        if offset.checked_add(span).is_none_or(|end| end > available) || shape.count() > available {
            return Err(format!(
                "leaves its storage of {available} elements: shape {shape}, strides {strides:?}, offset {offset}"
            ));
        }
        let range = match dtype {
            Ok(_) => member.start + offset * size..member.start + (offset + span) * size,
            Err(_) => member,
        };
        let contiguous = is_contiguous(shape.extents(), &strides);
        Ok(Self {
            shape,
            dtype,
            strides: (!contiguous).then_some(strides),
            range,
        })
    }
}

fn dtype(class: &str) -> std::result::Result<DType, String> {
    match class {
        "FloatStorage" => Ok(DType::F32),
        "BFloat16Storage" => Ok(DType::Bf16),
        "HalfStorage" => Ok(DType::F16),
        "ByteStorage" => Ok(DType::U8),
        "ShortStorage" => Ok(DType::I16),
        "IntStorage" => Ok(DType::I32),
        _ => Err(class.to_string()),
    }
}

/// Elements from the first to the last of a view, both included; `None` on overflow.
fn span(extents: &[usize], strides: &[usize]) -> Option<usize> {
    if extents.contains(&0) {
        return Some(0);
    }
    let steps = extents.iter().zip(strides);
    steps
        .map(|(&n, &stride)| (n - 1).checked_mul(stride))
        .try_fold(1_usize, |last, step| last.checked_add(step?))
}

fn is_contiguous(extents: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    extents.contains(&0)
        || extents.iter().zip(strides).rev().all(|(&n, &stride)| {
            let fits = n == 1 || stride == expected;
            expected *= n;
            fits
        })
}

/// The elements of a view in row-major order.
fn in_order(bytes: &[u8], size: usize, extents: &[usize], strides: &[usize]) -> Vec<u8> {
    let count: usize = extents.iter().product();
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0; extents.len()];
    let mut at = 0;
    for _ in 0..count {
        out.extend_from_slice(&bytes[at * size..][..size]);
        for axis in (0..extents.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < extents[axis] {
                break;
            }
            at -= strides[axis] * extents[axis];
            index[axis] = 0;
        }
    }
    out
}
