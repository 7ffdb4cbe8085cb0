//! A picture or a sound that somebody gives: a file, or bytes that came another way.

use std::path::{Path, PathBuf};

use super::{Image, Voice, decode, sound};
use crate::{Error, Result, error::human_bytes};

/// Where the bytes of a picture or a sound are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// In this file.
    Path(PathBuf),
    /// Here.
    Bytes {
        /// What messages call them: the name of an upload.
        name: String,
        /// A whole file.
        bytes: Vec<u8>,
    },
}

impl Input {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Bytes { name, .. } => name.clone(),
        }
    }

    /// Its file, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Bytes { .. } => None,
        }
    }

    /// The picture: PNG, JPEG or WebP.
    ///
    /// # Errors
    /// As [`super::open_image`].
    pub fn open_image(&self) -> Result<Image> {
        match self {
            Self::Path(path) => decode::open_image(path),
            Self::Bytes { name, bytes } => {
                check_length(name, bytes.len() as u64, decode::MAX_FILE_BYTES)?;
                decode::decode_image(bytes, name)
            }
        }
    }

    /// The first `seconds` of the voice track.
    ///
    /// # Errors
    /// As [`super::open_voice`].
    pub fn open_voice(&self, seconds: f64) -> Result<Voice> {
        match self {
            Self::Path(path) => sound::open_voice(path, seconds),
            Self::Bytes { name, bytes } => {
                check_length(name, bytes.len() as u64, sound::MAX_FILE_BYTES)?;
                sound::decode_voice(bytes, name, seconds)
            }
        }
    }
}

/// Whether `bytes` are not more than the limit.
fn check_length(name: &str, bytes: u64, limit_bytes: u64) -> Result<()> {
    if bytes <= limit_bytes {
        return Ok(());
    }
    let limit = human_bytes(limit_bytes);
    let problem = format!("is longer than {limit}; expected a shorter file");
    Err(Error::input(name, problem))
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}
