//! `gallop pack`: the denoising networks of a model folder in FP8, written once.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    choices::OneOrAll,
    precision::RULES,
    progress,
    staging::{SHARD_BYTES, Staging},
    terminal::{self, human_seconds},
};
use crate::{
    Error, Result,
    error::human_bytes,
    executor::Cancel,
    pipeline::{Model, QuantizationPolicy, denoise::Network},
    tensor::summary,
    weights::{
        Component, Folder, Info, Source, State, Variant, Writer, folder, manifest, write_checkpoint,
    },
};

/// Metadata in the headers of packed files.
const NOTE: (&str, &str) = (
    "gallop.packed",
    "X.weight of type F8_E4M3 stands for X.weight * X.weight_scale, row by row; all else is as it was",
);
/// File of a network's sizes in its folder.
const CONFIG: &str = "dit.json";

const AFTER_HELP: &str = "\
Examples:
  gallop pack --model DIR -o packed
  gallop pack --model DIR --network distill -o packed
  gallop pack --model DIR --precision fp8,layers.0-1=bf16 \\
    -o packed
  gallop generate --model packed \"...\"

The new folder holds the packed networks and a gallop.json that names all other parts where they are, so --model takes \
it as it is. Half the bytes are read at every start, and nothing has to be rounded then. FP8 layers cannot be had \
in bf16 again; keep the model. Nothing is left behind when the writing is interrupted.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Folder with the model's files
    #[arg(long, value_name = "DIR", env = "GALLOP_MODEL")]
    model: PathBuf,
    /// Which denoising network
    #[arg(long, value_enum, default_value_t = OneOrAll(None))]
    network: OneOrAll<Variant>,
    /// What becomes FP8: fp8, or rules that keep layers in bf16 [see --help]
    #[arg(long = "precision", value_name = "RULES", default_value = "fp8", long_help = RULES)]
    formats: QuantizationPolicy,
    /// Folder to write; must be new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace a model folder
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The denoising networks that a folder has.
fn found(folder: &Folder) -> Vec<Variant> {
    let states = folder.states().iter();
    let found = states.filter_map(|state| match state {
        (Component::Dit(variant), State::Found { .. }) => Some(*variant),
        _ => None,
    });
    found.collect()
}

/// A network to write.
struct Item {
    variant: Variant,
    network: Arc<Network>,
    /// What is written, by name.
    tensors: Vec<(String, Info)>,
    bytes_before: u64,
}

impl Item {
    fn new(
        model: &Model,
        folder: &Folder,
        variant: Variant,
        formats: &QuantizationPolicy,
    ) -> Result<Self> {
        let stored = folder.open(Component::Dit(variant))?;
        let network = model.network(variant, formats)?;
        Ok(Self {
            variant,
            tensors: infos(network.weights.source()),
            network,
            bytes_before: bytes(&infos(stored.source())),
        })
    }

    fn write(
        &self,
        folder: &Path,
        cancel: &Cancel,
        advance: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        /// Bytes between two checks for a cancel.
        const CHUNK: usize = 8 << 20;
        let mut fill = |index: usize, writer: &mut Writer<'_>| {
            let (weights, name) = (self.network.weights.clone(), self.tensors[index].0.clone());
            let tensor = cancel.watch(move || weights.source().load(&name))?;
            tensor.bytes().chunks(CHUNK).try_for_each(|chunk| {
                writer.write(chunk)?;
                advance(chunk.len() as u64)
            })
        };
        let outcome = write_checkpoint(folder, &self.tensors, SHARD_BYTES, Some(NOTE), &mut fill);
        // What has changed may also be why writing failed.
        let unchanged = self.network.weights.check_unchanged();
        match outcome {
            Err(Error::Interrupted) => outcome,
            _ => unchanged.and(outcome),
        }
    }
}

fn infos(source: &dyn Source) -> Vec<(String, Info)> {
    let mut names = source.names();
    names.sort_unstable();
    let infos = names.into_iter();
    infos
        .filter_map(|name| Some((name.clone(), source.info(&name)?)))
        .collect()
}

fn bytes(tensors: &[(String, Info)]) -> u64 {
    tensors.iter().map(|(_, info)| info.bytes()).sum()
}

pub(super) fn run(arguments: &Arguments, cancel: &Cancel) -> Result<()> {
    let start = Instant::now();
    let folder = folder::find(&arguments.model)?;
    check_apart(&folder, &arguments.output)?;
    let variants = match arguments.network {
        OneOrAll(Some(variant)) => vec![variant],
        OneOrAll(None) => found(&folder),
    };
    if variants.is_empty() {
        let problem = "holds no denoising network; `gallop inspect` lists what belongs there";
        return Err(Error::weights(&arguments.model, problem));
    }
    let model = Model::open(&arguments.model)?;
    let items: Vec<Item> = variants
        .into_iter()
        .map(|variant| Item::new(&model, &folder, variant, &arguments.formats))
        .collect::<Result<_>>()?;
    let stage = Staging::new(&arguments.output, arguments.force)?;
    write(&items, stage.folder(), cancel)?;
    write_manifest(&folder, &items, stage.folder())?;
    stage.commit()?;
    let seconds = start.elapsed().as_secs_f64();
    if arguments.json {
        let networks: Vec<Value> = items.iter().map(item_json).collect();
        return terminal::print_json(&json!({
            "folder": arguments.output.to_string_lossy(),
            "precision": arguments.formats.to_string(),
            "networks": networks,
            "seconds": seconds,
        }));
    }
    for item in &items {
        terminal::print(&format!(
            "{:8} {}, {} to {}\n",
            item.variant.key(),
            summary(&item.network.formats),
            human_bytes(item.bytes_before),
            human_bytes(bytes(&item.tensors))
        ))?;
    }
    terminal::print(&format!(
        "{}  packed in {}\n",
        arguments.output.display(),
        human_seconds(seconds)
    ))
}

fn item_json(item: &Item) -> Value {
    json!({
        "network": item.variant.key(),
        "tensors": item.tensors.len(),
        "eight_bit_layers": item.network.formats.len(),
        "bytes_before": item.bytes_before,
        "bytes": bytes(&item.tensors),
    })
}

/// Refuses an output folder that is, contains or is the home of parts of the input: replacing it would delete them.
fn check_apart(folder: &Folder, output: &Path) -> Result<()> {
    let Ok(output) = fs::canonicalize(output) else {
        return Ok(());
    };
    let parts = folder.states().iter().filter_map(|(_, state)| match state {
        State::Found { path, .. } => Some(path.as_path()),
        State::Missing(_) => None,
    });
    for path in parts.chain([folder.dir()]) {
        if fs::canonicalize(path).is_ok_and(|path| path.starts_with(&output)) {
            let problem = format!(
                "holds `{}` of the model itself; name another folder",
                path.display()
            );
            return Err(Error::output(output, problem));
        }
    }
    Ok(())
}

/// Writes all weights into `folder`, with one bar over all bytes.
fn write(items: &[Item], folder: &Path, cancel: &Cancel) -> Result<()> {
    let total = items.iter().map(|item| bytes(&item.tensors)).sum();
    let bar = progress::byte_bar("packing", total);
    let mut written = 0;
    let mut advance = |bytes| {
        written += bytes;
        bar.set_position(written);
        cancel.check()
    };
    for item in items {
        item.write(&folder.join(item.variant.key()), cancel, &mut advance)?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Writes the manifest: packed networks beside it, with their sizes and properties; all other components where they
/// are.
fn write_manifest(folder: &Folder, items: &[Item], output: &Path) -> Result<()> {
    let mut manifest = Map::new();
    for (part, state) in folder.states() {
        let State::Found { path, config } = state else {
            continue;
        };
        let mut item = match items
            .iter()
            .find(|item| Component::Dit(item.variant) == *part)
        {
            Some(_) => {
                let config = copy_config(folder, *part, output)?;
                json!({ "path": part.key(), "config": config })
            }
            None => {
                let config = config.as_deref().map(absolute).transpose()?;
                json!({ "path": absolute(path)?, "config": config })
            }
        };
        if let Component::Dit(variant) = *part {
            let properties = folder.properties(variant);
            item["steps"] = json!(properties.steps);
            item["coordinates"] = json!(properties.coordinates);
            item["local_layers"] = json!(properties.local_layers);
            item["frame_receptive_field"] = json!(properties.frame_receptive_field);
            item["guidance"] = json!(properties.guidance);
            item["shift"] = json!(properties.shift);
        }
        if item["config"].is_null() {
            item.as_object_mut().map(|item| item.remove("config"));
        }
        manifest.insert(part.key().into(), item);
    }
    let path = output.join(manifest::FILE_NAME);
    let text = format!("{:#}\n", Value::Object(manifest));
    fs::write(&path, text).map_err(|e| Error::output_io(&path, e))
}

/// Copies the JSON of a network's sizes, if there is one, beside its packed weights; returns its path relative to the
/// manifest.
fn copy_config(folder: &Folder, part: Component, output: &Path) -> Result<Option<String>> {
    let Some(text) = folder.config(part)? else {
        return Ok(None);
    };
    let name = format!("{}/{CONFIG}", part.key());
    let path = output.join(&name);
    fs::write(&path, text).map_err(|e| Error::output_io(&path, e))?;
    Ok(Some(name))
}

fn absolute(path: &Path) -> Result<String> {
    let whole = fs::canonicalize(path).map_err(|e| Error::weights_io(path, e))?;
    let text = whole.to_str().map(str::to_string);
    text.ok_or_else(|| Error::weights(path, "must have a name in UTF-8 to be named in a manifest"))
}
