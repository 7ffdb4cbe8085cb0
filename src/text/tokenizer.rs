//! The text encoder's tokenizer: byte-pair encoding over whole segments, with byte fallback.
//!
//! 1. The text is scanned from the left for added tokens; the longest match becomes its id.
//! 2. In the text between them every space becomes U+2581.
//! 3. Each such segment starts as one symbol per character, or per UTF-8 byte if the character has no piece, and
//!    is merged by [`bpe`](super::bpe).
//!
//! No token is put before or after the text; nothing is trimmed, folded or normalised. Reference: `GemmaTokenizerFast`
//! of `transformers`.

use std::path::Path;

use super::{
    bpe::{self, SPACE_MARK},
    tokenizer_file::{self, Vocabulary},
};
use crate::{Error, Result, error::GivenFile};

/// Largest `tokenizer.json` that is read; the published one has about 35 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Turns text into the text encoder's token ids.
pub struct Tokenizer {
    vocabulary: Vocabulary,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` beside it if there is one.
    ///
    /// # Errors
    /// [`Error::Weights`] if a file cannot be read, is damaged, or needs what this tokenizer lacks: another kind of
    /// model, another normaliser, tokens put around the text.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let config = path.with_file_name("tokenizer_config.json");
        if config.exists() {
            let json = read(&config)?;
            tokenizer_file::check_config(&json).map_err(|p| Error::weights(&config, p))?;
        }
        Self::parse(&read(path)?, path)
    }

    /// Reads the contents of a `tokenizer.json`; messages call it `name`.
    ///
    /// # Errors
    /// [`Error::Weights`] as for [`Tokenizer::open`].
    pub fn parse(json: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        let vocabulary = tokenizer_file::parse(json);
        let vocabulary = vocabulary.map_err(|problem| Error::weights(name.as_ref(), problem))?;
        Ok(Self { vocabulary })
    }

    /// Number of pieces; all ids are smaller. The text encoder's embedding needs at least as many rows.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.vocab_size
    }

    /// The ids of `text`, in order; none for the empty text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let (mut segment, mut at) = (0, 0);
        while at < text.len() {
            // UTF-8 is self-synchronising: a match can only begin and end between characters.
            match self.vocabulary.added.longest(&text.as_bytes()[at..]) {
                Some((len, id)) => {
                    self.encode_segment(&text[segment..at], &mut ids);
                    ids.push(id);
                    at += len;
                    segment = at;
                }
                None => at += 1,
            }
        }
        self.encode_segment(&text[segment..], &mut ids);
        ids
    }

    /// Appends the ids of a text without added tokens.
    fn encode_segment(&self, text: &str, ids: &mut Vec<u32>) {
        let mut symbols = Vec::with_capacity(text.len());
        for char in text.chars() {
            let char = if char == ' ' { SPACE_MARK } else { char };
            if let Some(&id) = self.vocabulary.chars.get(&char) {
                symbols.push(id);
                continue;
            }
            let mut utf8 = [0; 4];
            for &byte in char.encode_utf8(&mut utf8).as_bytes() {
                symbols.push(
                    self.vocabulary.bytes[usize::from(byte)]
                        .expect("checked when the file was read"),
                );
            }
        }
        ids.extend(bpe::merge(symbols, &self.vocabulary.merges));
    }
}

/// The text of a file, refused if it is too large to be a tokenizer.
fn read(path: &Path) -> Result<Vec<u8>> {
    GivenFile::Weights
        .read_text(path, MAX_FILE_BYTES)
        .map(String::into_bytes)
}
