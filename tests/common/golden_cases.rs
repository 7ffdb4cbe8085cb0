//! Golden cases for the tests, from the copies in `tests/golden` and from the whole sets beside the crate where there
//! are any.

use std::path::PathBuf;

use gallop::golden::{GoldenCase, Suite};

/// The sets called `name` that are here, the crate's own first.
pub(crate) fn suites(name: &str) -> Vec<Suite> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    ["tests/golden", "../shared/golden"]
        .iter()
        .map(|folder| root.join(folder).join(name))
        .filter(|folder| folder.join("index.json").is_file())
        .map(|folder| Suite::open(&folder).unwrap())
        .collect()
}

/// Whether the case's file is in its set; the crate's own sets hold only the small ones.
pub(crate) fn is_here(case: &GoldenCase<'_>) -> bool {
    let file: String = case.field("file").unwrap_or_default();
    PathBuf::from(case.suite().name()).join(file).is_file()
}
