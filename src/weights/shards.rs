//! Safetensors files, one or several as one name space.
//!
//! Files are mapped, so opening reads only headers and a tensor costs nothing until it is read. Of a sharded
//! checkpoint only the files with required tensors need to exist.

use std::{
    collections::{BTreeMap, btree_map},
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    map::Mapped,
    safetensors::{Header, HeaderEntry, MAX_HEADER_BYTES, UniqueMap},
    source::{Info, Source},
};
use crate::{Error, Result, Tensor, error::GivenFile};

/// One safetensors file, or several with an index.
pub struct Safetensors {
    /// What was opened: the file or the folder.
    path: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name -> index of its shard.
    names: BTreeMap<String, usize>,
}

struct Shard {
    path: PathBuf,
    /// `None` if the index names the file but it is missing.
    file: Option<(Arc<Mapped>, Header)>,
}

impl Safetensors {
    /// Opens a file, or a folder with an index (`*.safetensors.index.json`) or a single `*.safetensors`.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is nothing to open, or a header or the index is invalid. A file that the index
    /// names but that is missing is an error only when one of its tensors is loaded.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Self::open_file(path, path);
        }
        match choose(path)? {
            Choice::Index(index) => Self::open_index(path, &index),
            Choice::Single(file) => Self::open_file(path, &file),
        }
    }

    fn open_file(path: &Path, file: &Path) -> Result<Self> {
        Self::single(path, file, Mapped::open(file)?)
    }

    /// A file that is part of this program; messages call it `name`.
    ///
    /// # Errors
    /// [`Error::Weights`] if its header is invalid.
    pub fn built_in(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::single(name.as_ref(), name.as_ref(), Mapped::BuiltIn(bytes))
    }

    fn single(path: &Path, file: &Path, map: Mapped) -> Result<Self> {
        let (map, header) = parse(file, map)?;
        let names = header.entries().keys().map(|name| (name.clone(), 0));
        Ok(Self {
            path: path.to_path_buf(),
            names: names.collect(),
            shards: vec![Shard {
                path: file.to_path_buf(),
                file: Some((map, header)),
            }],
        })
    }

    fn open_index(folder: &Path, index: &Path) -> Result<Self> {
        let mut shards: Vec<Shard> = Vec::new();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for (tensor, file) in read_index(index)? {
            let number = match numbers.entry(file) {
                btree_map::Entry::Occupied(known) => *known.get(),
                btree_map::Entry::Vacant(unknown) => {
                    let path = folder.join(unknown.key());
                    let file = path.exists().then(|| open_shard(&path)).transpose()?;
                    shards.push(Shard { path, file });
                    *unknown.insert(shards.len() - 1)
                }
            };
            names.insert(tensor, number);
        }
        Ok(Self {
            path: folder.to_path_buf(),
            shards,
            names,
        })
    }

    fn shard(&self, name: &str) -> Option<&Shard> {
        self.names.get(name).map(|&number| &self.shards[number])
    }
}

impl Source for Safetensors {
    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn info(&self, name: &str) -> Option<Info> {
        let (_, header) = self.shard(name)?.file.as_ref()?;
        let HeaderEntry { shape, dtype, .. } = header.entry(name)?;
        Some(Info {
            shape: shape.clone(),
            dtype: dtype.clone().ok()?,
        })
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        let Some(shard) = self.shard(name) else {
            return Err(Error::tensor(&self.path, name, "is missing"));
        };
        let Some((map, header)) = &shard.file else {
            let absent = self.shards.iter().filter(|shard| shard.file.is_none());
            let others = match absent.count() - 1 {
                0 => String::new(),
                count => format!(", {count} more files of {} are missing", self.shards.len()),
            };
            let problem = format!("is missing; by the index, `{name}` is in it{others}");
            return Err(Error::weights(&shard.path, problem));
        };
        let fail = |problem: String| Error::tensor(&shard.path, name, problem);
        let entry = header
            .entry(name)
            .ok_or_else(|| fail("is not in this file, although the index says so".into()))?;
        let dtype = entry.dtype.clone().map_err(|word| {
            fail(format!(
                "is of type {word}; must be F32, BF16, F16, F8_E4M3, U8, I16 or I32"
            ))
        })?;
        Ok(Tensor::shared(
            entry.shape.clone(),
            dtype,
            map.clone(),
            entry.range.clone(),
        ))
    }

    fn check_unchanged(&self) -> Result<()> {
        self.shards.iter().try_for_each(|shard| {
            let outcome = shard.file.as_ref().map(|(map, _)| map.check_unchanged());
            let outcome = outcome.unwrap_or(Ok(()));
            outcome.map_err(|problem| Error::weights(&shard.path, problem))
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shard(name)
            .map_or(&self.path, |shard| &shard.path)
            .clone()
    }
}

fn open_shard(path: &Path) -> Result<(Arc<Mapped>, Header)> {
    parse(path, Mapped::open(path)?)
}

fn parse(path: &Path, map: Mapped) -> Result<(Arc<Mapped>, Header)> {
    let bytes = map.as_ref();
    let header = Header::parse(path, bytes, bytes.len() as u64)?;
    Ok((Arc::new(map), header))
}

enum Choice {
    Index(PathBuf),
    Single(PathBuf),
}

/// Whether `folder` holds an index or a safetensors file.
pub(super) fn is_checkpoint(folder: &Path) -> bool {
    choose(folder).is_ok()
}

fn choose(folder: &Path) -> Result<Choice> {
    let entries = fs::read_dir(folder).map_err(|e| Error::weights_io(folder, e))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::weights_io(folder, e))?.path();
        files.push(path);
    }
    let ending = |end: &str| -> Vec<&PathBuf> {
        let ends = |path: &&PathBuf| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.ends_with(end) && !name.starts_with('.'))
        };
        files.iter().filter(ends).collect()
    };
    let problem = match (
        ending(".safetensors.index.json").as_slice(),
        ending(".safetensors").as_slice(),
    ) {
        ([index], _) => return Ok(Choice::Index((*index).clone())),
        ([], [single]) => return Ok(Choice::Single((*single).clone())),
        ([], []) => match files.iter().find(|path| is_unfinished(path)) {
            Some(path) => format!(
                "holds no *.safetensors file but a download that has not been finished, `{}`",
                path.display()
            ),
            None => "holds no *.safetensors file".into(),
        },
        ([], several) => format!(
            "holds {} *.safetensors files and no index (*.safetensors.index.json) that joins them",
            several.len()
        ),
        (several, _) => format!(
            "holds {} indices (*.safetensors.index.json); must hold one",
            several.len()
        ),
    };
    Err(Error::weights(folder, problem))
}

/// Whether a file has one of the names that programs give to downloads until they are finished.
fn is_unfinished(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = [
        "incomplete",
        "part",
        "partial",
        "crdownload",
        "aria2",
        "download",
    ];
    path.extension()
        .is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known))
}

/// Tensor name -> file name, from an index.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: UniqueMap<String>,
    }
    let text = GivenFile::Weights.read_text(path, MAX_HEADER_BYTES)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| Error::weights(path, format!("is not an index: {e}")))?;
    let UniqueMap(map) = index.weight_map;
    for (tensor, file) in &map {
        let mut parts = Path::new(file).components();
        let is_plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !is_plain {
            let problem = format!("must be in a file beside the index; found `{file}`");
            return Err(Error::tensor(path, tensor, problem));
        }
    }
    Ok(map)
}
