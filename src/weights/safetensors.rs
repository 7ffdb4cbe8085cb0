//! The header of a safetensors file, checked once, so that later code need not check.
//!
//! A file is an 8-byte little-endian length, that many bytes of JSON `{name: {dtype, shape, data_offsets}}`, and the
//! tensors' bytes. Checked as the format demands: names are unique, byte ranges are adjacent without gap or overlap
//! and end with the file, and each range is as long as its shape and element type say. Reads no files; see
//! [`super::shards`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    marker::PhantomData,
    ops::Range,
    path::Path,
};

use safetensors::Dtype as FileDtype;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::{DType, Error, Result, Shape};

/// The largest header that the format allows, in bytes.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The bytes before the header: its length.
const LENGTH_BYTES: usize = 8;

/// Where each tensor of a file is.
#[derive(Debug)]
pub struct Header {
    entries: BTreeMap<String, HeaderEntry>,
}

/// One tensor of a file.
#[derive(Debug)]
pub struct HeaderEntry {
    /// Extents, outermost first.
    pub shape: Shape,
    /// Element type, or the file's word for one without a [`DType`].
    pub dtype: std::result::Result<DType, String>,
    /// Bytes, counted from the start of the file.
    pub range: Range<usize>,
}

impl Header {
    /// Parses and checks the header of the file `path`. `bytes` are its first bytes, including at least the header;
    /// `file_bytes` is its length.
    ///
    /// # Errors
    /// [`Error::Weights`] if any rule of the format is broken; names the tensor if there is one to blame.
    pub fn parse(path: &Path, bytes: &[u8], file_bytes: u64) -> Result<Self> {
        let json = header_json(path, bytes, file_bytes)?;
        let UniqueMap(tensors) = serde_json::from_str(json)
            .map_err(|e| Error::weights(path, format!("has a damaged header: {e}")))?;
        let data_start = LENGTH_BYTES + json.len();
        let data_bytes = file_bytes - data_start as u64;
        check_offsets(path, &tensors, data_bytes)?;
        let entries = tensors
            .into_iter()
            .map(|(name, raw)| {
                let entry = HeaderEntry::new(&raw, data_start)
                    .map_err(|problem| Error::tensor(path, &name, problem))?;
                Ok((name, entry))
            })
            .collect::<Result<_>>()?;
        Ok(Self { entries })
    }

    /// One tensor.
    pub fn entry(&self, name: &str) -> Option<&HeaderEntry> {
        self.entries.get(name)
    }

    /// All tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, HeaderEntry> {
        &self.entries
    }
}

impl HeaderEntry {
    fn new(raw: &RawEntry, data_start: usize) -> std::result::Result<Self, String> {
        let [start, end] = raw.data_offsets;
        let too_large = || format!("has a shape {:?} too large for this machine", raw.shape);
        let shape = raw
            .shape
            .iter()
            .map(|&n| usize::try_from(n).ok())
            .collect::<Option<Vec<_>>>()
            .and_then(|extents| Shape::checked(&extents))
            .ok_or_else(too_large)?;
        // Element types without a [`DType`] still have a size to check.
        let file_dtype: Option<FileDtype> =
            serde_json::from_value(serde_json::Value::String(raw.dtype.clone())).ok();
        if let Some(file_dtype) = file_dtype {
            let bits = shape
                .count()
                .checked_mul(file_dtype.bitsize())
                .ok_or_else(too_large)?;
            if (end - start).checked_mul(8) != Some(bits as u64) {
                return Err(format!(
                    "is {} {shape}, {} bytes, but has {} bytes in the file",
                    raw.dtype,
                    bits.div_ceil(8),
                    end - start
                ));
            }
        }
        let at = |offset: u64| usize::try_from(offset).ok()?.checked_add(data_start);
        let range = at(start).ok_or_else(too_large)?..at(end).ok_or_else(too_large)?;
        let dtype = file_dtype
            .and_then(from_file_dtype)
            .ok_or_else(|| raw.dtype.clone());
        Ok(Self {
            shape,
            dtype,
            range,
        })
    }
}

/// The type of a stored tensor here, if it has a use.
pub fn from_file_dtype(dtype: FileDtype) -> Option<DType> {
    match dtype {
        FileDtype::F32 => Some(DType::F32),
        FileDtype::BF16 => Some(DType::Bf16),
        FileDtype::F16 => Some(DType::F16),
        FileDtype::F8_E4M3 => Some(DType::E4m3),
        FileDtype::U8 => Some(DType::U8),
        FileDtype::I16 => Some(DType::I16),
        FileDtype::I32 => Some(DType::I32),
        _ => None,
    }
}

/// The format's name of an element type.
pub(super) fn to_file_dtype(dtype: DType) -> FileDtype {
    match dtype {
        DType::F32 => FileDtype::F32,
        DType::Bf16 => FileDtype::BF16,
        DType::F16 => FileDtype::F16,
        DType::E4m3 => FileDtype::F8_E4M3,
        DType::U8 => FileDtype::U8,
        DType::I16 => FileDtype::I16,
        DType::I32 => FileDtype::I32,
    }
}

fn header_json<'a>(path: &Path, bytes: &'a [u8], file_bytes: u64) -> Result<&'a str> {
    let fail = |problem: String| Err(Error::weights(path, problem));
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return fail(format!(
            "is not a safetensors file: {} bytes long",
            bytes.len()
        ));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return fail(format!(
            "has a header of {length} bytes; at most {MAX_HEADER_BYTES} are allowed; is it a safetensors file?"
        ));
    }
    let json = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let fits = length + LENGTH_BYTES as u64 <= file_bytes;
    let Some(json) = json.filter(|_| fits) else {
        return fail(format!(
            "is cut off inside its header: {length} bytes of header in a file of {file_bytes}; download it again"
        ));
    };
    match std::str::from_utf8(json) {
        Ok(json) => Ok(json),
        Err(e) => fail(format!("has a damaged header: {e}")),
    }
}

/// The tensors, in the order of their bytes, must cover the data exactly.
fn check_offsets(path: &Path, tensors: &BTreeMap<String, RawEntry>, data_bytes: u64) -> Result<()> {
    let mut order: Vec<(&String, &RawEntry)> = tensors.iter().collect();
    order.sort_by_key(|(_, raw)| raw.data_offsets);
    let mut covered = 0;
    for (name, raw) in order {
        let [start, end] = raw.data_offsets;
        if end < start {
            let problem = format!("ends at byte {end}, before its start {start}");
            return Err(Error::tensor(path, name, problem));
        }
        if start != covered {
            let kind = if start < covered {
                "overlaps the tensor before it"
            } else {
                "leaves a hole before it"
            };
            let problem = format!("{kind}: starts at byte {start}, must start at {covered}");
            return Err(Error::tensor(path, name, problem));
        }
        covered = end;
    }
    if covered == data_bytes {
        return Ok(());
    }
    let kind = if covered > data_bytes {
        "is cut off"
    } else {
        "is too long"
    };
    Err(Error::weights(
        path,
        format!(
            "{kind}: its header speaks of {covered} bytes of tensors, it has {data_bytes}; download it again"
        ),
    ))
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A JSON object without repeated keys; the format's notes, `__metadata__`, are passed over.
pub(super) struct UniqueMap<T>(pub(super) BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor(PhantomData))
    }
}

struct UniqueVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for UniqueVisitor<T> {
    type Value = UniqueMap<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut pairs: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let (mut map, mut seen) = (BTreeMap::new(), HashSet::new());
        while let Some(key) = pairs.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("`{key}` occurs twice")));
            }
            if key == "__metadata__" {
                pairs.next_value::<HashMap<String, String>>()?;
            } else {
                map.insert(key, pairs.next_value()?);
            }
        }
        Ok(UniqueMap(map))
    }
}
