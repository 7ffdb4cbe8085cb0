//! `gallop.json`: what is accepted can be written and read again.

#![no_main]

use std::path::Path;

use gallop::weights::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(manifest) = Manifest::parse(Path::new("m"), text) {
        let written = serde_json::to_string(&manifest).expect("a manifest is plain data");
        let again = Manifest::parse(Path::new("m"), &written).expect("was accepted before");
        assert_eq!(manifest, again);
    }
});
