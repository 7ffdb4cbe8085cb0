//! The tokenizer against the goldens, against a slow copy of its definition, and against bad files.

use std::{collections::HashMap, fs, path::Path};

use gallop::{Error, text::Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

const TINY: &str = "tests/golden/text/tok_tiny";

fn tiny_file() -> Value {
    serde_json::from_slice(&fs::read(format!("{TINY}/tokenizer.json")).unwrap()).unwrap()
}

fn parse(file: &Value) -> gallop::Result<Tokenizer> {
    Tokenizer::parse(file.to_string().as_bytes(), "tokenizer.json")
}

/// Compares every case of a golden file and says all that differ.
fn check_cases(tokenizer: &Tokenizer, cases: impl AsRef<Path>) {
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(cases).unwrap()).unwrap();
    assert_eq!(cases.len(), 40);
    for case in &cases {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode(text), ids, "{text:?}");
    }
}

#[test]
fn golden_strings_have_their_ids() {
    let tokenizer = Tokenizer::open(format!("{TINY}/tokenizer.json")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 2000);
    check_cases(&tokenizer, format!("{TINY}/cases.json"));
}

#[test]
fn golden_strings_have_their_ids_in_the_published_vocabulary() {
    let Some(path) = std::env::var_os("GALLOP_TOKENIZER") else {
        eprintln!("not run: set GALLOP_TOKENIZER to the published tokenizer.json");
        return;
    };
    let tokenizer = Tokenizer::open(path).unwrap();
    assert_eq!(tokenizer.vocab_size(), 256_000);
    check_cases(&tokenizer, "tests/golden/text/tok_real_ids.json");
    assert_eq!(tokenizer.encode("This is a test"), [1596, 603, 476, 2121]);
    assert_eq!(tokenizer.encode("Hi  Hello"), [2151, 139, 4521]);
    assert_eq!(tokenizer.encode("<s>"), [204]);
}

#[test]
fn merges_may_be_written_as_one_string() {
    let mut file = tiny_file();
    for merge in file["model"]["merges"].as_array_mut().unwrap() {
        let joined = format!(
            "{} {}",
            merge[0].as_str().unwrap(),
            merge[1].as_str().unwrap()
        );
        *merge = json!(joined);
    }
    check_cases(&parse(&file).unwrap(), format!("{TINY}/cases.json"));
}

/// The definition without any cleverness: all added tokens at each place, all pairs before each merge.
struct Definition {
    vocab: HashMap<String, u32>,
    ranks: HashMap<(String, String), usize>,
    added: Vec<String>,
}

impl Definition {
    fn new(file: &Value) -> Self {
        let text = |v: &Value| v.as_str().unwrap().to_string();
        let vocab = file["model"]["vocab"].as_object().unwrap();
        let merges = file["model"]["merges"].as_array().unwrap();
        let added = file["added_tokens"].as_array().unwrap();
        Self {
            vocab: vocab
                .iter()
                .map(|(k, v)| (k.clone(), v.as_u64().unwrap() as u32))
                .collect(),
            ranks: merges
                .iter()
                .enumerate()
                .map(|(i, m)| ((text(&m[0]), text(&m[1])), i))
                .collect(),
            added: added.iter().map(|a| text(&a["content"])).collect(),
        }
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut segment = String::new();
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            let token = self
                .added
                .iter()
                .filter(|a| rest.starts_with(*a))
                .max_by_key(|a| a.len());
            if let Some(token) = token {
                ids.extend(self.merged(&std::mem::take(&mut segment)));
                ids.push(self.vocab[token]);
                rest = &rest[token.len()..];
            } else {
                segment.push(if char == ' ' { '\u{2581}' } else { char });
                rest = &rest[char.len_utf8()..];
            }
        }
        ids.extend(self.merged(&segment));
        ids
    }

    fn merged(&self, segment: &str) -> Vec<u32> {
        let mut symbols = Vec::new();
        for char in segment.chars().map(String::from) {
            if self.vocab.contains_key(&char) {
                symbols.push(char);
            } else {
                symbols.extend(char.bytes().map(|b| format!("<0x{b:02X}>")));
            }
        }
        let best = |symbols: &[String]| {
            let ranks = symbols.windows(2).enumerate();
            ranks
                .filter_map(|(i, w)| Some((*self.ranks.get(&(w[0].clone(), w[1].clone()))?, i)))
                .min()
        };
        while let Some((_, at)) = best(&symbols) {
            let right = symbols.remove(at + 1);
            symbols[at].push_str(&right);
        }
        symbols.iter().map(|s| self.vocab[s]).collect()
    }
}

/// Texts made of what makes tokenizing hard.
fn hard_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ a-z]{1,12}",
        " {1,40}",
        "\n{1,40}",
        "\t{1,5}",
        "\u{2581}{1,35}",
        "\\PC{1,4}",
        "[你好世界今日はこんにちは안녕하세요été]{1,6}",
        Just("<b>".to_string()),
        Just("<unused1".to_string()),
        Just("<unused12>".to_string()),
        Just("<bos>".to_string()),
        Just("the woman looks at the camera".to_string()),
        Just("\0".to_string()),
        Just("👩‍🚀".to_string()),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

#[test]
fn random_texts_agree_with_the_definition() {
    let file = tiny_file();
    let (tokenizer, definition) = (parse(&file).unwrap(), Definition::new(&file));
    let config = ProptestConfig {
        cases: 400,
        failure_persistence: None,
        rng_seed: prop::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    };
    proptest!(config, |(text in hard_text())| {
        prop_assert_eq!(tokenizer.encode(&text), definition.encode(&text));
    });
}

/// The text that ids stand for, if `▁` is a space.
fn decode(file: &Value, ids: &[u32]) -> String {
    let vocab = file["model"]["vocab"].as_object().unwrap();
    let pieces: HashMap<u64, &str> = vocab
        .iter()
        .map(|(k, v)| (v.as_u64().unwrap(), k.as_str()))
        .collect();
    let mut bytes = Vec::new();
    for &id in ids {
        let piece = pieces[&u64::from(id)];
        match piece.strip_prefix("<0x").and_then(|p| p.strip_suffix('>')) {
            Some(hex) => bytes.push(u8::from_str_radix(hex, 16).unwrap()),
            None => bytes.extend(piece.replace('\u{2581}', " ").bytes()),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_megabyte_of_anything_is_encoded_whole() {
    let file = tiny_file();
    let tokenizer = parse(&file).unwrap();
    let units = [
        "a",
        " ",
        "<",
        "\0",
        "\n",
        "a\n",
        "👩‍🚀🏽",
        "The woman looks at the camera and says, \"早 上 好\", おはよう, 안녕하세요, bonjour à tous, schönen Tag. ",
    ];
    for unit in units {
        let text = unit.repeat((1 << 20) / unit.len());
        let ids = tokenizer.encode(&text);
        assert!(
            decode(&file, &ids) == text,
            "{unit:?} repeated does not survive"
        );
    }
}

/// A file of the published size: 256 000 pieces, 580 000 merges.
fn large_file() -> String {
    let mut pieces: Vec<String> = (0..=255).map(|b| format!("<0x{b:02X}>")).collect();
    pieces.push("\u{2581}".into());
    let letters: Vec<char> = ('a'..='z').collect();
    pieces.extend(letters.iter().map(|c| c.to_string()));
    // All words of two and three letters, and words of four until the table is full, in order of length.
    let mut words: Vec<String> = letters.iter().map(|c| c.to_string()).collect();
    let mut merges = Vec::new();
    'full: while pieces.len() < 256_000 {
        let mut longer = Vec::new();
        for word in &words {
            for letter in &letters {
                let new = format!("{word}{letter}");
                for split in 1..new.len() {
                    if merges.len() < 580_000 {
                        merges.push([new[..split].to_string(), new[split..].to_string()]);
                    }
                }
                pieces.push(new.clone());
                longer.push(new);
                if pieces.len() == 256_000 {
                    break 'full;
                }
            }
        }
        words = longer;
    }
    assert_eq!((pieces.len(), merges.len()), (256_000, 580_000));
    let vocab: serde_json::Map<String, Value> = pieces
        .into_iter()
        .enumerate()
        .map(|(id, p)| (p, json!(id)))
        .collect();
    let mut file = tiny_file();
    file["added_tokens"] = json!([]);
    file["model"]["vocab"] = Value::Object(vocab);
    file["model"]["merges"] = json!(merges);
    file.to_string()
}

#[test]
fn a_file_of_the_published_size_is_read() {
    let json = large_file();
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::parse(json.as_bytes(), "large").unwrap();
    eprintln!("{} bytes read in {:?}", json.len(), start.elapsed());
    assert_eq!(tokenizer.vocab_size(), 256_000);
    let (two, ids) = (256 + 1 + 26, tokenizer.encode("ab ba"));
    assert_eq!(ids, [two + 1, 256, two + 26]);
}

/// The one sentence that a changed tiny file is refused with.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut file = tiny_file();
    change(&mut file);
    match parse(&file) {
        Err(e @ Error::Weights { .. }) => e.to_string(),
        Err(e) => panic!("wrong kind of error: {e}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn bad_files_are_refused_by_name() {
    // Where, what is put there, what the refusal says.
    let replaced = [
        ("", json!([]), "is not a BPE tokenizer"),
        ("/model", json!("BPE"), "is not a BPE tokenizer"),
        ("/model/type", json!("Unigram"), "must be BPE"),
        (
            "/model/byte_fallback",
            json!(false),
            "`model.byte_fallback`",
        ),
        ("/model/ignore_merges", json!(true), "`model.ignore_merges`"),
        ("/model/dropout", json!(0.1), "`model.dropout`"),
        ("/model/end_of_word_suffix", json!("</w>"), "suffix"),
        ("/normalizer", json!({"type": "NFKC"}), "`normalizer`"),
        ("/normalizer", json!(7), "`normalizer`"),
        ("/normalizer", json!(null), "`normalizer`"),
        (
            "/pre_tokenizer",
            json!({"type": "ByteLevel"}),
            "`pre_tokenizer`",
        ),
        ("/model/vocab/a", json!("1"), "is not a BPE tokenizer"),
        ("/model/vocab/a", json!(-1), "is not a BPE tokenizer"),
        ("/model/vocab/a", json!(u32::MAX), "must be below 2000"),
        ("/model/vocab/a", json!(0), "id 0 twice"),
        (
            "/model/merges/3",
            json!(["a", "nowhere"]),
            "merge 3 names \"nowhere\"",
        ),
        (
            "/model/merges/3",
            json!("a b c"),
            "merge 3 must be two pieces",
        ),
        ("/model/merges/3", json!(["a"]), "invalid length 1"),
        (
            "/model/merges/3",
            json!(["a", "b", "c"]),
            "is not a BPE tokenizer",
        ),
        ("/added_tokens/0/id", json!(9), "has id 0 in `model.vocab`"),
        (
            "/added_tokens/0/content",
            json!(""),
            "is not in `model.vocab`",
        ),
        ("/added_tokens/0/lstrip", json!(true), "`lstrip`"),
    ];
    for (place, value, expected) in replaced {
        let found = refusal(|f| *f.pointer_mut(place).unwrap() = value);
        assert!(
            found.contains(expected),
            "{place}: expected {expected}; found {found}"
        );
        assert!(
            found.starts_with("tokenizer.json: ") && !found.contains('\n'),
            "{found}"
        );
    }
}

#[test]
fn incomplete_and_repeating_files_are_refused() {
    for field in ["type", "vocab", "merges"] {
        let found = refusal(|f| {
            f["model"].as_object_mut().unwrap().remove(field);
        });
        assert!(
            found.contains(&format!("missing field `{field}`")),
            "{found}"
        );
    }
    let found = refusal(|f| f["model"]["merges"][3] = f["model"]["merges"][2].clone());
    assert!(found.contains("is there twice"), "{found}");
    let found = refusal(|f| f["added_tokens"][3] = f["added_tokens"][2].clone());
    assert!(found.contains("is there twice"), "{found}");
    // A hole among the ids, and a byte piece that is needed but replaced by another.
    for (instead, expected) in [
        (None, "must be below 1999"),
        (Some("new"), "byte piece `<0x80>`"),
    ] {
        let found = refusal(|f| {
            let vocab = f["model"]["vocab"].as_object_mut().unwrap();
            let id = vocab.shift_remove("<0x80>").unwrap();
            vocab.extend(instead.map(|piece| (piece.to_string(), id)));
        });
        assert!(found.contains(expected), "{found}");
    }
    // A key that is there twice cannot be made with `Value`.
    let twice = tiny_file()
        .to_string()
        .replacen("\"<0x80>\"", "\"<0x81>\"", 1);
    let refused = Tokenizer::parse(twice.as_bytes(), "t").err().unwrap();
    assert!(
        refused.to_string().contains("has \"<0x81>\" twice"),
        "{refused}"
    );
}

#[test]
fn damaged_files_never_panic() {
    let json = fs::read(format!("{TINY}/tokenizer.json")).unwrap();
    for len in (0..json.len()).step_by(211) {
        assert!(Tokenizer::parse(&json[..len], "cut").is_err());
    }
    for at in (0..json.len()).step_by(97) {
        for byte in [0, b'"', b'9', b'}', 0xff] {
            let mut damaged = json.clone();
            damaged[at] = byte;
            if let Ok(tokenizer) = Tokenizer::parse(&damaged, "damaged") {
                tokenizer.encode("Any text \0 will do 👩‍🚀\n\n");
            }
        }
    }
    let deep = "[".repeat(1 << 20);
    assert!(Tokenizer::parse(deep.as_bytes(), "deep").is_err());
}

#[test]
fn a_config_that_adds_tokens_is_refused() {
    let dir = std::env::temp_dir().join(format!("gallop-tokenizer-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("tokenizer.json");
    let missing = Tokenizer::open(&path).err().unwrap();
    assert_eq!(missing.exit_code(), 4);
    fs::copy(format!("{TINY}/tokenizer.json"), &path).unwrap();
    assert!(Tokenizer::open(&path).is_ok());
    for (config, expected) in [
        ("{\"add_bos_token\": false, \"other\": [1]}", None),
        ("{}", None),
        (
            "{\"add_bos_token\": true}",
            Some("`add_bos_token` must be false"),
        ),
        (
            "{\"add_eos_token\": true}",
            Some("`add_eos_token` must be false"),
        ),
        (
            "{\"add_bos_token\": \"no\"}",
            Some("is not a tokenizer's settings"),
        ),
        ("", Some("is not a tokenizer's settings")),
    ] {
        fs::write(dir.join("tokenizer_config.json"), config).unwrap();
        match (Tokenizer::open(&path), expected) {
            (Ok(_), None) => {}
            (Err(e), Some(expected)) => {
                let e = e.to_string();
                assert!(
                    e.contains("tokenizer_config.json") && e.contains(expected),
                    "{e}"
                );
            }
            (opened, _) => panic!("{config}: {:?}", opened.err()),
        }
    }
    fs::remove_dir_all(&dir).unwrap();
}
