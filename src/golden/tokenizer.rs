//! Cases of the tokenizer: strings and their ids.

use serde::Deserialize;

use super::GoldenCase;
use crate::{Result, qualify::Check, text::Tokenizer};

/// A string of a case's list.
#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
}

/// `tokenizer`: the case's own `tokenizer.json`.
pub(super) fn own_vocabulary(case: &GoldenCase<'_>) -> Result<Vec<Check>> {
    let file: String = case.field("tokenizer")?;
    let json = case.suite().file(&file)?;
    check(case, &Tokenizer::parse(&json, &file)?)
}

/// `tokenizer_real_vocabulary`: the published file, which is not part of the suite.
pub(super) fn published_vocabulary(case: &GoldenCase<'_>, json: &[u8]) -> Result<Vec<Check>> {
    check(case, &Tokenizer::parse(json, "tokenizer.json")?)
}

/// Checks the size of the vocabulary, and that every string's ids are equal.
fn check(case: &GoldenCase<'_>, tokenizer: &Tokenizer) -> Result<Vec<Check>> {
    let file: String = case.field("cases")?;
    let samples: Vec<Sample> = serde_json::from_slice(&case.suite().file(&file)?)
        .map_err(|e| case.bad(format!("{file}: {e}")))?;
    let count: usize = case.field("count")?;
    if samples.len() != count {
        return Err(case.bad(format!(
            "{file} must have {count} strings; found {}",
            samples.len()
        )));
    }
    let numbers = |ids: &[u32]| -> Vec<f32> { ids.iter().map(|&id| id as f32).collect() };
    let vocab: u32 = case.field("vocab")?;
    let found = tokenizer.vocab_size() as f32;
    let mut checks = vec![Check::max_abs("vocabulary", &[found], &[vocab as f32], 0.0)];
    checks.extend(samples.iter().enumerate().map(|(index, sample)| {
        let got = numbers(&tokenizer.encode(&sample.text));
        Check::max_abs(format!("string {index}"), &got, &numbers(&sample.ids), 0.0)
    }));
    Ok(checks)
}
