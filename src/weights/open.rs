//! The reader of a checkpoint, chosen by the first bytes of its file.

use std::{io::Read, path::Path};

use super::{shards::Safetensors, source::Source, torch_zip::TorchFile};
use crate::{Error, Result, error::GivenFile};

/// Bytes of a file that formats are recognised by; safetensors may have blanks in front of the header.
const HEAD_BYTES: u64 = 64;

/// Opens a file; the key selects one item of a torch file's dict.
type Open = fn(&Path, Option<&str>) -> Result<Box<dyn Source>>;

/// A file format.
struct Reader {
    /// Whether a file with these first bytes has this format.
    sniff: fn(&[u8]) -> bool,
    /// Whether a file with this extension should have this format. Used for the error message if no format is
    /// recognised.
    ending: fn(&str) -> bool,
    open: Open,
}

const READERS: [Reader; 2] = [
    Reader {
        sniff: |head| {
            let header = head.get(8..).unwrap_or_default();
            header.trim_ascii_start().starts_with(b"{")
        },
        ending: |ending| ending == "safetensors",
        open: |path, _| Ok(Box::new(Safetensors::open(path)?)),
    },
    Reader {
        sniff: |head| head.starts_with(b"PK\x03\x04"),
        ending: |_| true,
        open: |path, key| Ok(Box::new(TorchFile::open(path, key)?)),
    },
];

/// Opens a file of any supported format, whatever its extension, or a folder of safetensors files.
///
/// # Errors
/// [`Error::Weights`] if it cannot be read or is not valid in its format.
pub(super) fn open_any(path: &Path, key: Option<&str>) -> Result<Box<dyn Source>> {
    if path.is_dir() {
        return Ok(Box::new(Safetensors::open(path)?));
    }
    let mut head = Vec::new();
    GivenFile::Weights
        .open(path, u64::MAX)?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|e| Error::weights_io(path, e))?;
    let ending = path
        .extension()
        .map_or("".into(), |end| end.to_string_lossy());
    let known = READERS.iter().find(|reader| (reader.sniff)(&head));
    let named = || READERS.iter().find(|reader| (reader.ending)(&ending));
    let reader = known
        .or_else(named)
        .expect("the last reader takes any name");
    (reader.open)(path, key)
}
