//! Writes safetensors files as a stream: the header first, then bytes as they come, so that a checkpoint of any size
//! needs little memory. A file gets its name only when it is complete.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{BufWriter, ErrorKind, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::tensor::{Metadata, TensorInfo};

use super::{safetensors::to_file_dtype, source::Info};
use crate::{Error, Result};

/// Tensor data starts at a multiple of this, so that mapped tensors are as aligned as their sizes allow.
const ALIGNMENT: usize = 64;

/// A safetensors file being written. Dropping it before [`Writer::finish`] removes it.
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    out: BufWriter<File>,
    /// Bytes of tensors still to come.
    left: u64,
    is_finished: bool,
}

/// Writes tensors as `model.safetensors` into `folder`; beyond `shard_bytes` as several files with an index. `note` is
/// a metadata key and value for readers, stored in each header. `fill` is called for each tensor in order and writes
/// its bytes. Files appear only when all are complete.
///
/// # Errors
/// [`Error::Output`] if `folder` cannot be written to; also the errors of `fill`.
///
/// # Panics
/// If a name occurs twice or `fill` does not write a tensor's bytes.
pub fn write_checkpoint(
    folder: &Path,
    tensors: &[(String, Info)],
    shard_bytes: u64,
    note: Option<(&str, &str)>,
    fill: &mut dyn FnMut(usize, &mut Writer) -> Result<()>,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::output_io(folder, e))?;
    let shards = shards(tensors, shard_bytes);
    let mut writers = Vec::new();
    for (number, shard) in shards.iter().enumerate() {
        let path = folder.join(shard_name(number, shards.len()));
        let list = tensors[shard.clone()].iter();
        let list = list.map(|(name, info)| (name.as_str(), info));
        let mut writer = Writer::create_with(&path, list, note)?;
        shard
            .clone()
            .try_for_each(|index| fill(index, &mut writer))?;
        writers.push(writer);
    }
    writers.into_iter().try_for_each(Writer::finish)?;
    if shards.len() > 1 {
        write_index(folder, tensors, &shards)?;
    }
    Ok(())
}

/// Tensors in order, split so that no file exceeds `shard_bytes`, except for a single larger tensor.
fn shards(tensors: &[(String, Info)], shard_bytes: u64) -> Vec<Range<usize>> {
    let mut shards = Vec::new();
    let (mut start, mut filled) = (0, 0);
    for (index, (_, info)) in tensors.iter().enumerate() {
        if filled > 0 && filled + info.bytes() > shard_bytes {
            shards.push(start..index);
            (start, filled) = (index, 0);
        }
        filled += info.bytes();
    }
    shards.push(start..tensors.len());
    shards
}

fn shard_name(number: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".into(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

fn write_index(folder: &Path, tensors: &[(String, Info)], shards: &[Range<usize>]) -> Result<()> {
    let mut weight_map = serde_json::Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let file = shard_name(number, shards.len());
        for (name, _) in &tensors[shard.clone()] {
            weight_map.insert(name.clone(), file.clone().into());
        }
    }
    let total: u64 = tensors.iter().map(|(_, info)| info.bytes()).sum();
    let index = serde_json::json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    let path = folder.join("model.safetensors.index.json");
    fs::write(&path, format!("{index:#}\n")).map_err(|e| Error::output_io(&path, e))
}

impl Writer {
    /// Starts a file of these tensors, whose bytes must then be written in this order.
    ///
    /// # Errors
    /// [`Error::Output`] if the folder cannot be written to.
    ///
    /// # Panics
    /// If a name occurs twice.
    pub fn create<'a>(
        path: &Path,
        tensors: impl IntoIterator<Item = (&'a str, &'a Info)>,
    ) -> Result<Self> {
        Self::create_with(path, tensors, None)
    }

    fn create_with<'a>(
        path: &Path,
        tensors: impl IntoIterator<Item = (&'a str, &'a Info)>,
        note: Option<(&str, &str)>,
    ) -> Result<Self> {
        let (header, left) = header(tensors, note);
        let (part, file) = create_part(path)?;
        let mut writer = Self {
            path: path.to_path_buf(),
            part,
            out: BufWriter::with_capacity(1 << 20, file),
            left,
            is_finished: false,
        };
        writer.put(&(header.len() as u64).to_le_bytes())?;
        writer.put(&header)?;
        Ok(writer)
    }

    /// Appends bytes of the tensors.
    ///
    /// # Errors
    /// [`Error::Output`] if they cannot be written, for example because the disk is full.
    ///
    /// # Panics
    /// If there are more bytes than the tensors have.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.expect("more bytes than the tensors have");
        self.put(bytes)
    }

    /// Renames the file to its path, replacing one that is there.
    ///
    /// # Errors
    /// [`Error::Output`] if the rest cannot be written.
    ///
    /// # Panics
    /// If bytes of the tensors are missing.
    pub fn finish(mut self) -> Result<()> {
        assert_eq!(self.left, 0, "bytes of tensors not written");
        let flushed = self.out.flush();
        flushed
            .and_then(|()| fs::rename(&self.part, &self.path))
            .map_err(|e| Error::output_io(&self.path, e))?;
        self.is_finished = true;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(|e| Error::output_io(&self.path, e))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_finished {
            // If removing fails, there is nothing left to try.
            drop(fs::remove_file(&self.part));
        }
    }
}

/// A new file beside `path`; two runs never share one.
fn create_part(path: &Path) -> Result<(PathBuf, File)> {
    let name = path.file_name().unwrap_or_default();
    for attempt in 0_u32.. {
        let mut part = OsString::from(".");
        part.push(name);
        part.push(format!(".{}-{attempt}.part", std::process::id()));
        let part = path.with_file_name(part);
        match OpenOptions::new().write(true).create_new(true).open(&part) {
            Ok(file) => return Ok((part, file)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::output_io(path, e)),
        }
    }
    Err(Error::output(path, "cannot be written"))
}

/// The header's bytes, and how many bytes of tensors follow.
fn header<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Info)>,
    note: Option<(&str, &str)>,
) -> (Vec<u8>, u64) {
    let mut end = 0;
    let entries = tensors.into_iter().map(|(name, info)| {
        let start = end;
        end += info.shape.count() * info.dtype.size();
        let entry = TensorInfo {
            dtype: to_file_dtype(info.dtype),
            shape: info.shape.extents().to_vec(),
            data_offsets: (start, end),
        };
        (name.to_string(), entry)
    });
    let entries: Vec<_> = entries.collect();
    let count = entries.len();
    let note = note.map(|(word, text)| [(word.to_string(), text.to_string())].into());
    let metadata = Metadata::new(note, entries).expect("offsets follow each other");
    assert_eq!(
        metadata.tensors().len(),
        count,
        "a tensor's name occurs twice"
    );
    let mut header = serde_json::to_vec(&metadata).expect("a map of plain values");
    let padded = (8 + header.len()).next_multiple_of(ALIGNMENT) - 8;
    header.resize(padded, b' ');
    (header, end as u64)
}
