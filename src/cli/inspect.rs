//! `gallop inspect`: which components a model folder has, which it lacks, and what it suffices for.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{terminal, words};
use crate::{
    Error, Result,
    error::human_bytes,
    inspect::inventory::{InventoryEntry, Use, entries, uses},
    tensor::summary,
    weights::{Component, State, folder},
};

const AFTER_HELP: &str = "\
Examples:
  gallop inspect /models/gallop
  gallop inspect /models/gallop --json

Only names and headers are read. The exit code is 0 if the folder suffices for at least one size, else 4.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Folder with model files, as downloaded or as its gallop.json says
    #[arg(value_name = "FOLDER", env = "GALLOP_MODEL")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let folder = folder::find(&arguments.folder)?;
    let entries = entries(&folder)?;
    let uses = uses();
    if arguments.json {
        let parts: Vec<Value> = entries.iter().map(part_json).collect();
        let uses: Vec<Value> = uses.iter().map(|one| use_json(one, &entries)).collect();
        terminal::print_json(
            &json!({ "folder": arguments.folder.to_string_lossy(), "parts": parts, "uses": uses }),
        )?;
    } else {
        terminal::print(&text(&entries, &uses))?;
    }
    let suffices = |one: &Use| !one.is_addition && lacking(one, &entries).is_empty();
    if uses.iter().any(suffices) {
        return Ok(());
    }
    Err(Error::weights(
        &arguments.folder,
        "suffices for no size; the list says what is missing and where it is published",
    ))
}

/// The components that `one` needs and that cannot be used.
fn lacking(one: &Use, entries: &[InventoryEntry]) -> Vec<Component> {
    let is_usable = |part: &Component| {
        entries
            .iter()
            .any(|entry| entry.part == *part && entry.is_usable())
    };
    one.parts
        .iter()
        .copied()
        .filter(|part| !is_usable(part))
        .collect()
}

fn text(entries: &[InventoryEntry], uses: &[Use]) -> String {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&format!("{:13} {}\n", entry.part.key(), part_text(entry)));
    }
    text.push('\n');
    for one in uses {
        let lacking: Vec<&str> = lacking(one, entries)
            .iter()
            .map(|part| part.key())
            .collect();
        let answer = match (lacking.is_empty(), one.is_addition) {
            (true, _) => "yes".into(),
            (false, _) => format!("no, lacks {}", lacking.join(", ")),
        };
        text.push_str(&format!("{:16} {answer}\n", name(one)));
    }
    text
}

/// A use, or an addition by the option that requests it.
fn name(one: &Use) -> String {
    let dashes = if one.is_addition { "--" } else { "" };
    format!("{dashes}{}", one.name)
}

fn part_text(entry: &InventoryEntry) -> String {
    match (&entry.state, &entry.problem) {
        (State::Found { path, .. }, None) => {
            let formats = match entry.formats.is_empty() {
                true => String::new(),
                false => format!(", {}", summary(&entry.formats)),
            };
            format!(
                "ok       {:>9}  {}{formats}",
                human_bytes(entry.bytes),
                path.display()
            )
        }
        (State::Found { .. }, Some(problem)) => format!("damaged  {}", words::error(problem)),
        (State::Missing(missing), _) => {
            let licence = match missing.is_gated {
                true => ", after accepting its licence there",
                false => "",
            };
            format!(
                "missing  {:>9}  {}: published at {}{licence}",
                human_bytes(missing.bytes),
                missing.expected.display(),
                missing.published_at
            )
        }
    }
}

fn part_json(entry: &InventoryEntry) -> Value {
    let mut value = json!({ "part": entry.part.key() });
    match &entry.state {
        State::Found { path, config } => {
            value["state"] = json!(entry.problem.as_ref().map_or("ok", |_| "damaged"));
            value["path"] = json!(path.to_string_lossy());
            value["config"] = json!(config.as_ref().map(|path| path.to_string_lossy()));
            value["bytes"] = json!(entry.bytes);
            value["eight_bit_layers"] = json!(entry.formats.len());
            value["problem"] = json!(entry.problem.as_ref().map(words::error));
        }
        State::Missing(missing) => {
            value["state"] = json!("missing");
            value["path"] = json!(missing.expected.to_string_lossy());
            value["published_at"] = json!(missing.published_at);
            value["gated"] = json!(missing.is_gated);
            value["bytes"] = json!(missing.bytes);
        }
    }
    value
}

fn use_json(one: &Use, entries: &[InventoryEntry]) -> Value {
    let keys = |parts: &[Component]| parts.iter().map(|part| part.key()).collect::<Vec<_>>();
    let lacking = lacking(one, entries);
    json!({
        "name": name(one),
        "suffices": lacking.is_empty(),
        "takes": keys(&one.parts),
        "lacks": keys(&lacking),
    })
}
