//! `tokenizer.json`: a tokenizer that is accepted encodes any text. The input is read as a whole file, and as the rest
//! of one that begins with every byte piece there must be.

#![no_main]

use gallop::text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    check(input, &text);
    let mut file =
        br#"{"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"\u2581"},"#
            .to_vec();
    file.extend(br#""model":{"type":"BPE","byte_fallback":true,"vocab":{"\u2581":256"#);
    for byte in 0..=u8::MAX {
        file.extend(format!(r#","<0x{byte:02X}>":{byte}"#).into_bytes());
    }
    file.extend(input);
    check(&file, &text);
});

fn check(json: &[u8], text: &str) {
    if let Ok(tokenizer) = Tokenizer::parse(json, "tokenizer.json") {
        for text in [text, "a ab\tabc  \0\u{7f}\u{e9}\u{ffff}\u{10ffff}"] {
            let ids = tokenizer.encode(text);
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
            assert_eq!(ids.is_empty(), text.is_empty());
        }
    }
}
