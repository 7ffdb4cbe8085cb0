//! Finds libcublasLt: pip and the toolkit folder put it where the system's loader does not look.

#![allow(unsafe_code, reason = "opening a library runs its initialisers")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use cudarc::cublaslt::sys;

use crate::{Error, Result};

const FILE: &str = "libcublasLt.so.13";
/// The first version with fp8 scales per row and channel.
const OLDEST: usize = 12_09_00;

/// Files to try, in this order: `named`, the toolkit folder below `root`, the Python environment. The caller reads these
/// from its environment.
pub fn search_order(named: Option<PathBuf>, root: &Path, python: Option<&Path>) -> Vec<PathBuf> {
    let toolkit = root.join(".cuda/nvidia/cu13/lib").join(FILE);
    let versions = python.and_then(|python| fs::read_dir(python.join("lib")).ok());
    let mut versions: Vec<PathBuf> = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    versions.sort();
    let wheels = versions
        .into_iter()
        .map(|version| version.join("site-packages/nvidia/cu13/lib").join(FILE));
    named.into_iter().chain([toolkit]).chain(wheels).collect()
}

/// Opens the first file of `search` that exists, else the one that the system's loader finds, for the rest of the
/// process. Returns its version: 13_00_02 for 13.0.2.
///
/// # Errors
/// [`Error::Device`] if there is none, if the first that exists cannot be opened, or if it is too old.
pub fn open_library(search: &[PathBuf]) -> Result<usize> {
    if let Some(file) = search.iter().find(|file| file.is_file()) {
        // SAFETY: the file is NVIDIA's library or what the user named in its place; its initialisers are what every
        // program that uses it runs.
        let library = unsafe { libloading::Library::new(file) };
        let library = library
            .map_err(|e| Error::device(format!("{}: cannot be opened: {e}", file.display())))?;
        // Stays open: later openings by name then find this one.
        std::mem::forget(library);
    }
    // SAFETY: opens the library, if there is one, and closes it; see above.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::device(format!(
            "there is no {FILE}: pip install nvidia-cublas, or set GALLOP_CUBLASLT to the file"
        )));
    }
    // SAFETY: the library is there, and the call only returns a number.
    let version = unsafe { sys::cublasLtGetVersion() };
    if version < OLDEST {
        return Err(Error::device(format!(
            "cuBLASLt is {version}; {OLDEST} is needed: pip install nvidia-cublas"
        )));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_goes_first_and_python_last() {
        let python = std::env::temp_dir().join(format!("gallop-python-{}", std::process::id()));
        fs::create_dir_all(python.join("lib/python3.12")).unwrap();
        let order = search_order(Some("/a/b.so".into()), Path::new("/here"), Some(&python));
        fs::remove_dir_all(&python).unwrap();
        assert_eq!(
            order,
            [
                PathBuf::from("/a/b.so"),
                PathBuf::from("/here/.cuda/nvidia/cu13/lib/libcublasLt.so.13"),
                python.join("lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13"),
            ]
        );
        assert_eq!(
            search_order(None, Path::new(""), Some(Path::new("/nowhere"))).len(),
            1
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_not_a_panic() {
        let file =
            std::env::temp_dir().join(format!("gallop-no-library-{}.so", std::process::id()));
        fs::write(&file, "text").unwrap();
        let error = open_library(&[PathBuf::from("/nowhere"), file.clone()]).unwrap_err();
        fs::remove_file(&file).unwrap();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("cannot be opened"), "{error}");
    }
}
