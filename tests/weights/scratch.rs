//! Folders and files for one test, removed at its end.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder of a test's own.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder; `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("weights-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A safetensors file of this header and these bytes of tensors.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Little-endian bytes of f32 values.
pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A safetensors file of f32 vectors.
pub(crate) fn vectors(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let mut at = 0;
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for (name, values) in tensors {
        let bytes = f32_bytes(values);
        let end = at + bytes.len();
        entries.push(format!(
            r#""{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[{at},{end}]}}"#,
            values.len()
        ));
        data.extend(bytes);
        at = end;
    }
    safetensors(&format!("{{{}}}", entries.join(",")), &data)
}

/// The message of an error that must be one about model files.
pub(crate) fn refusal<T>(result: gallop::Result<T>) -> String {
    match result {
        Ok(_) => panic!("must be refused"),
        Err(error) => {
            assert_eq!(error.exit_code(), 4, "{error}");
            error.to_string()
        }
    }
}

/// Checks that a message has all of these words.
pub(crate) fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` not in: {message}");
    }
}
