//! Writes safetensors files as a stream: the header first, then bytes as they come, so that a checkpoint of any size
//! needs little memory.

use std::{
    fs::{self, File},
    io::Write,
    ops::Range,
    path::Path,
};

use safetensors::tensor::{Metadata, TensorInfo};

use super::{safetensors::to_file_dtype, source::Info};
use crate::{Error, Result};

/// Tensor data starts at a multiple of this, so that mapped tensors are as aligned as their sizes allow.
const ALIGNMENT: usize = 64;

/// Takes the bytes of a file, piece by piece.
pub type ByteSink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// A safetensors file being written.
pub struct Writer<'a> {
    sink: &'a mut ByteSink<'a>,
    /// Bytes of tensors still to come.
    left: u64,
}

/// Writes tensors as `model.safetensors` into `folder`; beyond `shard_bytes` as several files with an index. `note` is
/// a metadata key and value for readers, stored in each header. `fill` is called for each tensor in order and writes
/// its bytes. The folder is not looked at by others before all is complete.
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
    fill: &mut dyn FnMut(usize, &mut Writer<'_>) -> Result<()>,
) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::output_io(folder, e))?;
    let shards = shards(tensors, shard_bytes);
    for (number, shard) in shards.iter().enumerate() {
        let path = folder.join(shard_name(number, shards.len()));
        let list = tensors[shard.clone()].iter();
        let list = list.map(|(name, info)| (name.as_str(), info));
        let refused = |e| Error::output_io(&path, e);
        let mut file = File::create(&path).map_err(refused)?;
        let mut sink = |bytes: &[u8]| file.write_all(bytes).map_err(refused);
        let mut writer = Writer::new(list, note, &mut sink)?;
        shard
            .clone()
            .try_for_each(|index| fill(index, &mut writer))?;
        writer.finish();
    }
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

impl<'a> Writer<'a> {
    /// Starts a file of these tensors, whose bytes must then be written in this order. `note` is as for
    /// [`write_checkpoint`].
    ///
    /// # Errors
    /// Those of `sink`.
    ///
    /// # Panics
    /// If a name occurs twice.
    pub fn new<'b>(
        tensors: impl IntoIterator<Item = (&'b str, &'b Info)>,
        note: Option<(&str, &str)>,
        sink: &'a mut ByteSink<'a>,
    ) -> Result<Self> {
        let (header, left) = header(tensors, note);
        sink(&(header.len() as u64).to_le_bytes())?;
        sink(&header)?;
        Ok(Self { sink, left })
    }

    /// Appends bytes of the tensors.
    ///
    /// # Errors
    /// Those of the sink.
    ///
    /// # Panics
    /// If there are more bytes than the tensors have.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.expect("more bytes than the tensors have");
        (self.sink)(bytes)
    }

    /// Ends the file.
    ///
    /// # Panics
    /// If bytes of the tensors are missing.
    pub fn finish(self) {
        assert_eq!(self.left, 0, "bytes of tensors not written");
    }
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
