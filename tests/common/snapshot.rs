//! Texts that must not change unnoticed: `tests/plans/NAME.txt`. `UPDATE=1 cargo test` rewrites them.

use std::{env, fmt::Display, fs, path::Path};

/// Compares `text` with the stored snapshot `name`, or stores it if `UPDATE=1`.
#[track_caller]
pub(crate) fn snapshot(name: &str, text: &dyn Display) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let update = env::var("UPDATE").is_ok_and(|value| value == "1");
    let text = text.to_string();
    if let Err(problem) = compare(&folder.join(format!("{name}.txt")), &text, update) {
        panic!("{problem}");
    }
}

/// The first line of `file` that differs from `text`; with `update` the file becomes `text` instead.
pub(crate) fn compare(file: &Path, text: &str, update: bool) -> Result<(), String> {
    let shown = file.display();
    if update {
        let folder = file.parent().unwrap_or(file);
        return fs::create_dir_all(folder)
            .and_then(|()| fs::write(file, text))
            .map_err(|e| format!("{shown}: {e}"));
    }
    let stored = fs::read_to_string(file);
    let stored = stored.map_err(|e| format!("{shown}: {e}; UPDATE=1 cargo test stores it"))?;
    if stored == text {
        return Ok(());
    }
    let (mut expected, mut found) = (stored.lines(), text.lines());
    for line in 1.. {
        let (want, got) = (expected.next(), found.next());
        if want != got || want.is_none() {
            return Err(format!(
                "{shown}:{line}\n  expected {}\n  found    {}\nif this is meant: UPDATE=1 cargo test",
                want.unwrap_or("the end"),
                got.unwrap_or("the end")
            ));
        }
    }
    Ok(())
}
