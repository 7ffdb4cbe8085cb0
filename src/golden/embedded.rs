//! The small suites in the binary, so that `gallop verify` alone proves an installation.
//!
//! Their files are those of `tests/golden/`. Their indices, in `embedded/`, are the full ones without the entries of
//! other cases, so that every entry can run. The test below makes them with `UPDATE=1 cargo test --lib embedded` and
//! checks that they are current.

use super::Suite;
use crate::Result;

type Files = &'static [(&'static str, &'static [u8])];

macro_rules! files {
    ($suite:literal, $index:literal, [$($file:literal),* $(,)?]) => {
        &[
            ("index.json", include_bytes!($index)),
            $(($file, include_bytes!(concat!("../../tests/golden/", $suite, "/", $file)))),*
        ]
    };
}

const DIT: Files = files!(
    "dit",
    "embedded/dit.json",
    [
        "dit_i_deep40.safetensors",
        "dit_c_gqa5.safetensors",
        "sampler_ddim8.safetensors",
        "sampler_unipc5.safetensors",
        "sampler_unipc8.safetensors",
        "sampler_unipc32.safetensors",
        "sampler_sde8.safetensors",
    ]
);

const TEXT: Files = files!(
    "text",
    "embedded/text.json",
    [
        "enc_c_padded_batch.safetensors",
        "tok_tiny/tokenizer.json",
        "tok_tiny/cases.json",
    ]
);

const VAE: Files = files!(
    "vae",
    "embedded/vae.json",
    [
        "turbo_small_t1.safetensors",
        "wan_enc_small_1f.safetensors",
        "wan_dec_small_t1.safetensors",
        "oob_dec_small_l1.safetensors",
        "oob_enc_small_l4.safetensors",
        "merge_odd.safetensors",
        "merge_even.safetensors",
        "pcm16.safetensors",
        "img_tie_narrow.safetensors",
        "img_tie_wide.safetensors",
        "to_u8.safetensors",
        "rescale_bilinear.safetensors",
        "rescale_bicubic.safetensors",
        "rescale_nearest.safetensors",
    ]
);

const MINIATURE: Files = files!(
    "miniature",
    "../../tests/golden/miniature/index.json",
    ["red_ball.safetensors", "blue_star.safetensors"]
);

/// The suites in the binary.
///
/// # Errors
/// None, as long as the tests hold.
pub fn embedded() -> Result<Vec<Suite>> {
    let suites = [
        ("dit", DIT),
        ("text", TEXT),
        ("vae", VAE),
        ("miniature", MINIATURE),
    ];
    suites
        .into_iter()
        .map(|(name, files)| Suite::embedded(name, files))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    /// The full index of a suite, reduced to the cases whose files are embedded.
    fn trimmed(suite: &str, files: Files) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("tests/golden").join(suite).join("index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let is_embedded = |case: &Value| {
            let file = case["file"]
                .as_str()
                .or(case["tokenizer"].as_str())
                .unwrap_or_default();
            files.iter().any(|(name, _)| *name == file)
        };
        index["cases"].as_array_mut().unwrap().retain(is_embedded);
        format!("{index:#}\n")
    }

    #[test]
    fn indices_are_the_full_ones_without_other_cases() {
        for (suite, files) in [("dit", DIT), ("text", TEXT), ("vae", VAE)] {
            let want = trimmed(suite, files);
            if std::env::var_os("UPDATE").is_some() {
                let path = format!(
                    "{}/src/golden/embedded/{suite}.json",
                    env!("CARGO_MANIFEST_DIR")
                );
                std::fs::write(path, &want).unwrap();
                continue;
            }
            assert!(
                files[0].1 == want.as_bytes(),
                "{suite}.json: run with UPDATE=1"
            );
        }
    }

    #[test]
    fn every_file_belongs_to_a_case_and_all_are_small() {
        let suites = embedded().unwrap();
        let cases: usize = suites.iter().map(|suite| suite.cases().count()).sum();
        let files = DIT.len() + TEXT.len() + VAE.len() + MINIATURE.len();
        // Four indices, and one case with two files.
        assert_eq!(cases, files - 5);
        let bytes: usize = [DIT, TEXT, VAE, MINIATURE]
            .iter()
            .flat_map(|files| files.iter())
            .map(|(_, b)| b.len())
            .sum();
        assert!(bytes < 2_200_000, "{bytes} bytes");
    }
}
