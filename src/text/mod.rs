//! From a prompt to token ids.
//!
//! [`Tokenizer`] reads the published `tokenizer.json` and gives the ids the text encoder takes; [`prompt`] says
//! what makes a good prompt. Nothing here changes a prompt: its bytes are used as they were given. Does not know
//! about models or devices.

mod added;
mod bpe;
pub mod prompt;
mod tokenizer;
mod tokenizer_file;

pub use tokenizer::Tokenizer;
