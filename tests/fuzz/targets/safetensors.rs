//! Safetensors headers. The input is read as a whole file, and as the JSON of a header whose length is right: its first
//! two bytes then say how many bytes of tensors follow.

#![no_main]

use std::path::Path;

use gallop::weights::safetensors::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    check(input, input.len() as u64);
    if let Some((tensor_bytes, json)) = input.split_first_chunk() {
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json);
        let file_bytes = file.len() as u64 + u64::from(u16::from_le_bytes(*tensor_bytes));
        check(&file, file_bytes);
    }
});

/// What is accepted lies inside the file, without overlap, as long as shape and type say.
fn check(bytes: &[u8], file_bytes: u64) {
    let Ok(header) = Header::parse(Path::new("m"), bytes, file_bytes) else {
        return;
    };
    let mut covered = 0;
    for entry in header.entries().values() {
        assert!(entry.range.start <= entry.range.end && entry.range.end as u64 <= file_bytes);
        covered += entry.range.len() as u64;
        if let Ok(dtype) = entry.dtype {
            assert_eq!(entry.range.len(), entry.shape.count() * dtype.size());
        }
    }
    assert!(covered + 8 <= file_bytes);
}
