//! Torch files. The input is read as a whole file, and as the pickle of a file that is sound otherwise. Every tensor of
//! a file that is accepted is loaded.

#![no_main]

use std::{env, fs, path::Path, process};

use gallop::weights::{Source, TorchFile, torch_zip};
use libfuzzer_sys::fuzz_target;

/// Bytes of the one storage that a made file has.
const STORAGE_BYTES: usize = 64;

fuzz_target!(|input: &[u8]| {
    check(input);
    check(&torch_file(input));
});

fn check(bytes: &[u8]) {
    let Ok(entries) = torch_zip::parse(Path::new("m"), bytes, Some("ema")) else {
        return;
    };
    let path = env::temp_dir().join(format!("gallop-fuzz-{}.ckpt", process::id()));
    fs::write(&path, bytes).expect("the temporary folder can be written");
    let file = TorchFile::open(&path, Some("ema")).expect("was accepted before");
    fs::remove_file(&path).expect("was written before");
    assert_eq!(file.names().len(), entries.len());
    for name in file.names() {
        let info = file.info(&name);
        assert_eq!(file.load(&name).is_ok(), info.is_some());
    }
}

/// A zip of the members `r/data.pkl` and `r/data/0`.
fn torch_file(pickle: &[u8]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, body) in [("r/data.pkl", pickle), ("r/data/0", &[0; STORAGE_BYTES])] {
        let offset = le(file.len());
        let (name_bytes, size) = ([name.len() as u8, 0], le(body.len()));
        file.extend([b"PK\x03\x04", &[0; 22][..], &name_bytes, &[0; 2]].concat());
        file.extend([name.as_bytes(), body].concat());
        directory.extend([b"PK\x01\x02", &[0; 16][..], &size, &size, &name_bytes].concat());
        directory.extend([&[0; 12][..], &offset, name.as_bytes()].concat());
    }
    let (start, size) = (le(file.len()), le(directory.len()));
    file.extend(directory);
    file.extend(
        [
            b"PK\x05\x06",
            &[0; 4][..],
            &[2, 0, 2, 0],
            &size,
            &start,
            &[0; 2],
        ]
        .concat(),
    );
    file
}

/// A length as zip writes it.
fn le(value: usize) -> [u8; 4] {
    (value as u32).to_le_bytes()
}
