//! Reads `tokenizer.json` and checks it, so that encoding cannot fail.
//!
//! Strings are borrowed from the file's bytes and dropped after loading; only ids are kept. Problems are sentences
//! here; the caller adds the file's name.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    added::AddedTokens,
    bpe::{Merge, Merges, SPACE_MARK},
};

/// The contents of a `tokenizer.json`: pieces and merges.
pub(super) struct Vocabulary {
    pub(super) added: AddedTokens,
    /// Pieces that are one character.
    pub(super) chars: HashMap<char, u32>,
    /// Byte pieces. Every byte is present that a character without a piece can need.
    pub(super) bytes: [Option<u32>; 256],
    pub(super) merges: Merges,
    pub(super) vocab_size: usize,
}

/// Why a file cannot be used.
type Problem = String;

/// The parts of `tokenizer.json` that decide ids. The post-processor is deliberately left out: the published file may
/// add a token in front, which the reference never does.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Model<'a>,
    #[serde(borrow, default)]
    added_tokens: Vec<Added<'a>>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    vocab: Vocab<'a>,
    #[serde(borrow)]
    merges: Vec<Pair<'a>>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
}

/// The two settings of `tokenizer_config.json` that would put tokens around the text.
#[derive(Deserialize)]
struct Config {
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
}

/// Refuses a `tokenizer_config.json` that puts tokens around the text.
pub(super) fn check_config(json: &[u8]) -> Result<(), Problem> {
    let config: Config =
        serde_json::from_slice(json).map_err(|e| format!("is not a tokenizer's settings: {e}"))?;
    for (name, value) in [
        ("add_bos_token", config.add_bos_token),
        ("add_eos_token", config.add_eos_token),
    ] {
        if value == Some(true) {
            return Err(format!(
                "`{name}` must be false; found true; the text encoder takes prompts without such a token, \
                 so these are the files of another model"
            ));
        }
    }
    Ok(())
}

/// Reads and checks a `tokenizer.json`.
pub(super) fn parse(json: &[u8]) -> Result<Vocabulary, Problem> {
    let file: File<'_> =
        serde_json::from_slice(json).map_err(|e| format!("is not a BPE tokenizer: {e}"))?;
    check_settings(&file)?;
    let ids = vocab_ids(&file.model.vocab.0)?;
    let chars = one_character_pieces(&ids);
    let bytes = byte_pieces(&ids, &chars)?;
    Ok(Vocabulary {
        added: added_tokens(&file.added_tokens, &ids)?,
        chars,
        bytes,
        merges: merge_table(&file.model.merges, &ids)?,
        vocab_size: ids.len(),
    })
}

/// Refuses every setting that would change ids in a way that is not implemented.
fn check_settings(file: &File<'_>) -> Result<(), Problem> {
    let model = &file.model;
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or("").is_empty();
    let replaces_spaces = file.normalizer.as_ref().is_some_and(|n| {
        n["type"] == "Replace"
            && n["pattern"]["String"] == " "
            && n["content"].as_str() == Some(SPACE_MARK.encode_utf8(&mut [0; 4]))
    });
    // A split at spaces has no effect: there are none left when it runs.
    let leaves_text_whole = file
        .pre_tokenizer
        .as_ref()
        .is_none_or(|p| p["type"] == "Split" && p["pattern"]["String"] == " ");
    let rules = [
        (model.kind == "BPE", "`model.type` must be BPE"),
        (model.byte_fallback, "`model.byte_fallback` must be true"),
        (!model.ignore_merges, "`model.ignore_merges` must be false"),
        (
            model.dropout.unwrap_or(0.0) == 0.0,
            "`model.dropout` must be null",
        ),
        (
            is_empty(&model.continuing_subword_prefix) && is_empty(&model.end_of_word_suffix),
            "`model` must have no subword prefix and no word suffix",
        ),
        (
            replaces_spaces,
            "`normalizer` must replace each space by U+2581 and do nothing else",
        ),
        (
            leaves_text_whole,
            "`pre_tokenizer` must be null or a split at spaces",
        ),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        Some((_, rule)) => Err(format!("{rule}; this is the tokenizer of another model")),
        None => Ok(()),
    }
}

/// Ids by piece. Ids must be 0 to count - 1, each once.
fn vocab_ids<'a>(vocab: &'a [(Cow<'a, str>, u32)]) -> Result<HashMap<&'a str, u32>, Problem> {
    let count = vocab.len();
    let mut ids = HashMap::with_capacity(count);
    let mut taken = vec![false; count];
    for (piece, id) in vocab {
        let piece: &str = piece;
        match taken.get_mut(*id as usize) {
            None => {
                return Err(format!(
                    "`model.vocab` has {count} pieces, so ids must be below {count}; found {id} for {}",
                    quoted(piece)
                ));
            }
            Some(true) => return Err(format!("`model.vocab` gives id {id} twice")),
            Some(free) => *free = true,
        }
        if piece.is_empty() {
            return Err(format!("`model.vocab` has an empty piece, id {id}"));
        }
        if ids.insert(piece, *id).is_some() {
            return Err(format!("`model.vocab` has {} twice", quoted(piece)));
        }
    }
    Ok(ids)
}

fn one_character_pieces(ids: &HashMap<&str, u32>) -> HashMap<char, u32> {
    let single = |piece: &str| {
        let mut chars = piece.chars();
        chars.next().filter(|_| chars.next().is_none())
    };
    ids.iter()
        .filter_map(|(piece, &id)| Some((single(piece)?, id)))
        .collect()
}

/// The byte pieces `<0x00>` .. `<0xFF>`. One may be missing if its byte is a character with a piece of its own
/// (the published file has a literal tab in the place of `<0x09>`), or never occurs in UTF-8.
fn byte_pieces(
    ids: &HashMap<&str, u32>,
    chars: &HashMap<char, u32>,
) -> Result<[Option<u32>; 256], Problem> {
    let mut pieces = [None; 256];
    for byte in 0..=u8::MAX {
        let name = format!("<0x{byte:02X}>");
        let id = ids.get(name.as_str()).copied();
        let is_spared = match byte {
            0..=0x7f => byte == b' ' || chars.contains_key(&char::from(byte)),
            0xc0 | 0xc1 | 0xf5.. => true,
            0x80..=0xbf | 0xc2..=0xf4 => false,
        };
        if id.is_none() && !is_spared {
            return Err(format!("`model.vocab` must have the byte piece `{name}`"));
        }
        pieces[usize::from(byte)] = id;
    }
    if !chars.contains_key(&SPACE_MARK) {
        return Err("`model.vocab` must have the piece U+2581, the space".into());
    }
    Ok(pieces)
}

fn added_tokens(added: &[Added<'_>], ids: &HashMap<&str, u32>) -> Result<AddedTokens, Problem> {
    let mut tokens = AddedTokens::new();
    for token in added {
        let content = quoted(&token.content);
        let expected = ids.get(&*token.content).copied();
        if expected != Some(token.id) {
            let expected = expected.map_or("is not in `model.vocab`".into(), |id| {
                format!("has id {id} in `model.vocab`")
            });
            return Err(format!(
                "added token {content} with id {} {expected}",
                token.id
            ));
        }
        if token.single_word || token.lstrip || token.rstrip || token.normalized {
            return Err(format!(
                "added token {content} must have `single_word`, `lstrip`, `rstrip` and `normalized` false"
            ));
        }
        if !tokens.insert(&token.content, token.id) {
            return Err(format!("added token {content} is there twice"));
        }
    }
    Ok(tokens)
}

fn merge_table(merges: &[Pair<'_>], ids: &HashMap<&str, u32>) -> Result<Merges, Problem> {
    let mut table = Merges::with_capacity(merges.len());
    let mut joined = String::new();
    for (index, pair) in merges.iter().enumerate() {
        let (left, right) = pair
            .pieces()
            .ok_or_else(|| format!("merge {index} must be two pieces with one space between"))?;
        let rank = u32::try_from(index).map_err(|_| "has too many merges".to_string())?;
        let id = |piece: &str| {
            ids.get(piece).copied().ok_or_else(|| {
                format!(
                    "merge {index} names {}, which is not in `model.vocab`",
                    quoted(piece)
                )
            })
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let (key, id) = ((id(left)?, id(right)?), id(&joined)?);
        if table.insert(key, Merge { rank, id }).is_some() {
            return Err(format!(
                "merge {index} of {} and {} is there twice",
                quoted(left),
                quoted(right)
            ));
        }
    }
    Ok(table)
}

/// A piece for messages: quoted, control characters escaped, shortened.
fn quoted(piece: &str) -> String {
    let shown: String = piece.chars().take(40).collect();
    let dots = if shown.len() < piece.len() { "..." } else { "" };
    format!("{shown:?}{dots}")
}

/// The `vocab` object in the file's order, repeated keys included so that they can be refused.
struct Vocab<'a>(Vec<(Cow<'a, str>, u32)>);

/// A string that is borrowed from the file unless it holds escapes.
#[derive(Deserialize)]
struct Piece<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pieces;
        impl<'de> Visitor<'de> for Pieces {
            type Value = Vocab<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of pieces and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some((Piece(piece), id)) = map.next_entry()? {
                    pieces.push((piece, id));
                }
                Ok(Vocab(pieces))
            }
        }
        from.deserialize_map(Pieces)
    }
}

/// An entry of `merges`, in either of its two forms.
enum Pair<'a> {
    /// `"left right"`
    Joined(Cow<'a, str>),
    /// `["left", "right"]`
    Two(Cow<'a, str>, Cow<'a, str>),
}

impl Pair<'_> {
    fn pieces(&self) -> Option<(&str, &str)> {
        match self {
            Self::Joined(both) => both
                .split_once(' ')
                .filter(|(_, right)| !right.contains(' ')),
            Self::Two(left, right) => Some((left, right)),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pair<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Pair<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: \"left right\" or [\"left\", \"right\"]")
            }

            fn visit_borrowed_str<E: de::Error>(self, both: &'de str) -> Result<Self::Value, E> {
                Ok(Pair::Joined(Cow::Borrowed(both)))
            }

            fn visit_str<E: de::Error>(self, both: &str) -> Result<Self::Value, E> {
                Ok(Pair::Joined(Cow::Owned(both.into())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let wrong_length = |n| de::Error::invalid_length(n, &self);
                let Piece(left) = seq.next_element()?.ok_or_else(|| wrong_length(0))?;
                let Piece(right) = seq.next_element()?.ok_or_else(|| wrong_length(1))?;
                Ok(Pair::Two(left, right))
            }
        }
        from.deserialize_any(Either)
    }
}
