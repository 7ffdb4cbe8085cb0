//! Compiled kernels: those compiled in, and those of a folder that replaces them.

use std::{borrow::Cow, fs, path::Path};

use crate::{Error, Result, error::Hint};

mod table {
    include!(concat!(env!("OUT_DIR"), "/cubins.rs"));
}

/// Compiled kernels by file name; empty in a CPU-only build.
pub fn cubins() -> &'static [(&'static str, &'static [u8])] {
    table::CUBINS
}

/// What was compiled, or why nothing was: `14 kernels for sm_90a, nvcc 13.0 by CUDA_HOME`.
pub fn build_note() -> &'static str {
    table::BUILD_NOTE
}

/// The cubin of kernel file `module`: `module.cubin` of `folder` if there is one, else what was compiled in.
///
/// # Errors
/// [`Error::Device`] if there is neither, or if the file cannot be read or is no cubin.
pub(in crate::cuda) fn cubin(module: &str, folder: Option<&Path>) -> Result<Cow<'static, [u8]>> {
    let file = folder.map(|folder| folder.join(module).with_extension("cubin"));
    if let Some(file) = file.filter(|file| file.exists()) {
        let bytes =
            fs::read(&file).map_err(|e| Error::device(format!("{}: {e}", file.display())))?;
        if !is_whole_elf(&bytes) {
            return Err(Error::device(format!(
                "{}: is not a whole cubin; compile it again",
                file.display()
            )));
        }
        return Ok(bytes.into());
    }
    let compiled_in = cubins().iter().find(|(name, _)| *name == module);
    compiled_in.map(|&(_, bytes)| bytes.into()).ok_or_else(|| {
        let problem = format!(
            "built without GPU kernels ({}); tools/setup.sh cuda and another build bring them",
            build_note()
        );
        Error::device(problem).with_hint(Hint::USE_CPU)
    })
}

/// Whether a 64-bit ELF file, which a cubin is, holds all the sections it names: the driver is not told the length, so it
/// would read past the end of a truncated file.
fn is_whole_elf(bytes: &[u8]) -> bool {
    const HEADER_BYTES: usize = 64;
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return false;
    };
    let number = |bytes: &[u8], at: usize, length: usize| {
        bytes[at..at + length]
            .iter()
            .rev()
            .fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
    };
    let table = number(header, 40, 8);
    let entry_bytes = number(header, 58, 2);
    let count = number(header, 60, 2);
    let fits = |start: u64, length: u64| {
        start
            .checked_add(length)
            .is_some_and(|end| end <= bytes.len() as u64)
    };
    /// The type of a section without bytes in the file.
    const NO_BITS: u64 = 8;
    header.starts_with(b"\x7fELF\x02\x01")
        && entry_bytes == HEADER_BYTES as u64
        && count > 0
        && fits(table, count * entry_bytes)
        && (0..count).all(|index| {
            let at = (table + index * entry_bytes) as usize;
            let section = &bytes[at..at + HEADER_BYTES];
            number(section, 4, 4) == NO_BITS || fits(number(section, 24, 8), number(section, 32, 8))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and two sections: one of 16 bytes, and one without any in the file.
    fn elf() -> Vec<u8> {
        let mut bytes = vec![0; 64 + 16 + 2 * 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[40], bytes[58], bytes[60]) = (80, 64, 2);
        (bytes[80 + 24], bytes[80 + 32]) = (64, 16);
        (bytes[144 + 4], bytes[144 + 24], bytes[144 + 39]) = (8, 64, 255);
        bytes
    }

    #[test]
    fn a_truncated_file_is_no_cubin() {
        let whole = elf();
        assert!(is_whole_elf(&whole));
        for length in 0..whole.len() {
            assert!(!is_whole_elf(&whole[..length]), "{length}");
        }
        let mut beyond = whole.clone();
        beyond[80 + 32] = 255;
        assert!(!is_whole_elf(&beyond));
        for (_, bytes) in cubins() {
            assert!(is_whole_elf(bytes));
        }
    }

    #[test]
    fn a_folder_goes_before_what_was_compiled_in() {
        let folder = std::env::temp_dir().join(format!("gallop-cubins-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("good.cubin"), elf()).unwrap();
        fs::write(folder.join("bad.cubin"), "PTX").unwrap();
        assert_eq!(*cubin("good", Some(&folder)).unwrap(), elf());
        assert!(
            cubin("bad", Some(&folder))
                .unwrap_err()
                .to_string()
                .contains("not a whole cubin")
        );
        let error = cubin("absent", Some(&folder)).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains(build_note()), "{error}");
    }
}
