//! From a prompt to token ids.
//!
//! [`Tokenizer`] reads the published `tokenizer.json` and gives the ids that the text encoder takes. [`prompt`] checks
//! prompts and gives advice. A prompt is never changed. Imports neither models nor devices.

mod added;
mod bpe;
pub mod prompt;
mod tokenizer;
mod tokenizer_file;

pub use tokenizer::Tokenizer;
