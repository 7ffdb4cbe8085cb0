//! `gallop dev synth`: synthetic weights by the goldens' rule, streamed to disk.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    choices::OneOrAll,
    progress,
    staging::{self, Staging},
    terminal,
};
use crate::{
    Error, Result,
    error::{Field, GivenFile, human_bytes},
    executor::Cancel,
    pipeline::{
        miniature,
        networks::{NetworkConfig, network_of, published_json},
    },
    weights::{Component, Info, Source, Synthetic, manifest},
};

const AFTER_HELP: &str = "\
Examples:
  gallop dev synth --config miniature -o tiny-model
  gallop dev synth --config released --dry-run -o released
  gallop dev synth --network dit --config my.json -o my-dit

With --network all the folder is laid out like a download, so that --model takes it; the published \
vocabulary is not ours to make, so --config released leaves the tokenizer out. Nothing is left \
behind when the writing is interrupted.";

#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Which network
    #[arg(long, value_enum, default_value_t = OneOrAll(None))]
    network: OneOrAll<Component>,
    /// `released`, `miniature`, or a JSON file with the network's sizes
    #[arg(long, value_name = "CONFIG", default_value = "miniature")]
    config: OsString,
    /// Seed of the numbers; with --network all each network adds a number of its own, and 0 gives the weights of the
    /// built-in miniature, trained ones among them
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder to write; must be new or empty
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace a model folder
    #[arg(long)]
    force: bool,
    /// Print sizes and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// One network to write.
struct Item {
    part: Component,
    /// Folder of its weights, relative to the output.
    folder: &'static str,
    weights: Synthetic,
    /// Shape and stored type of each tensor.
    infos: Vec<Info>,
}

impl Item {
    fn new(
        part: Component,
        folder: &'static str,
        sizes: &NetworkConfig,
        seed: u64,
    ) -> Result<Self> {
        let weights = Synthetic::new(network_of(part), &sizes.required_tensors(), seed)?;
        Ok(Self::of(part, folder, weights))
    }

    fn of(part: Component, folder: &'static str, weights: Synthetic) -> Self {
        let infos = weights
            .names()
            .iter()
            .filter_map(|name| weights.info(name))
            .collect();
        Self {
            part,
            folder,
            weights,
            infos,
        }
    }

    fn parameters(&self) -> usize {
        self.infos.iter().map(|info| info.shape.count()).sum()
    }

    fn bytes(&self) -> u64 {
        self.infos.iter().map(Info::bytes).sum()
    }

    /// Folder of its weights below `root`.
    fn folder_in(&self, root: &Path) -> PathBuf {
        match self.folder {
            "" => root.to_path_buf(),
            folder => root.join(folder),
        }
    }
}

/// A text file to write beside the weights.
struct Extra {
    path: String,
    bytes: Vec<u8>,
}

pub(super) fn run(arguments: &Arguments, cancel: &Cancel) -> Result<()> {
    let (items, extras) = match arguments.network.0 {
        Some(part) => one(arguments, part)?,
        None => all(arguments)?,
    };
    for item in &items {
        terminal::print(&format!(
            "{:12} {:4} tensors, {:>14} parameters, {:>9}  {}
",
            item.part.key(),
            item.infos.len(),
            item.parameters(),
            human_bytes(item.bytes()),
            item.folder_in(&arguments.output).display()
        ))?;
    }
    if arguments.dry_run {
        return Ok(());
    }
    let stage = Staging::new(&arguments.output, arguments.force)?;
    write(&items, stage.folder(), cancel)?;
    for Extra { path, bytes } in &extras {
        let path = stage.folder().join(path);
        let folder = path.parent().unwrap_or(stage.folder());
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, bytes))
            .map_err(|e| Error::output_io(&path, e))?;
    }
    stage.commit()
}

/// One network, directly in the folder.
fn one(arguments: &Arguments, part: Component) -> Result<(Vec<Item>, Vec<Extra>)> {
    let (sizes, json) = match arguments.config.to_str() {
        Some("released") => (
            NetworkConfig::published(part),
            published_json(part).map(str::to_string),
        ),
        Some("miniature") => (
            miniature::sizes(part),
            Some(miniature::config(part).to_string()),
        ),
        _ => {
            let path = Path::new(&arguments.config);
            let text = GivenFile::Input.read_text(path, 1 << 20)?;
            (NetworkConfig::parse(part, &text, path)?, Some(text))
        }
    };
    let item = Item::new(part, "", &sizes, arguments.seed)?;
    let name = match part {
        Component::TurboVae => "TurboV3-Wan22-TinyShallow_7_7.json",
        Component::AudioVae => "model_config.json",
        _ => "config.json",
    };
    let extra = json.map(|text| Extra {
        path: name.into(),
        bytes: text.into_bytes(),
    });
    Ok((vec![item], extra.into_iter().collect()))
}

/// All networks, laid out as downloaded.
fn all(arguments: &Arguments) -> Result<(Vec<Item>, Vec<Extra>)> {
    let is_miniature = match arguments.config.to_str() {
        Some("miniature") => true,
        Some("released") => false,
        _ => {
            let expected = "must be released or miniature with --network all";
            let found = format!("`{}`", arguments.config.display());
            return Err(Error::request(Field::Config, expected).found(found));
        }
    };
    let mut items = Vec::new();
    let mut extras = Vec::new();
    for part in Component::ALL
        .into_iter()
        .filter(|part| *part != Component::Tokenizer)
    {
        let sizes = if is_miniature {
            miniature::sizes(part)
        } else {
            NetworkConfig::published(part)
        };
        let (folder, config) = place(part);
        let seed = arguments.seed.wrapping_add(miniature::seed(part));
        items.push(match arguments.seed {
            0 if is_miniature => Item::of(part, folder, miniature::weights(part)?),
            _ => Item::new(part, folder, &sizes, seed)?,
        });
        let text = if is_miniature {
            Some(miniature::config(part))
        } else {
            published_json(part)
        };
        extras.extend(text.map(|text| Extra {
            path: config.into(),
            bytes: text.into(),
        }));
    }
    if is_miniature {
        let more = [
            ("t5gemma-9b-9b-ul2/tokenizer.json", miniature::TOKENIZER),
            (manifest::FILE_NAME, miniature::MANIFEST.as_bytes()),
        ];
        extras.extend(more.map(|(path, bytes)| Extra {
            path: path.into(),
            bytes: bytes.into(),
        }));
    }
    Ok((items, extras))
}

/// Folder of a component's weights and file name of its JSON in a model folder.
fn place(part: Component) -> (&'static str, &'static str) {
    match part {
        Component::Dit(variant) => (variant.key(), "dit.json"),
        Component::Tokenizer | Component::TextEncoder => {
            ("t5gemma-9b-9b-ul2", "t5gemma-9b-9b-ul2/config.json")
        }
        Component::TurboVae => ("turbo_vae", "turbo_vae/TurboV3-Wan22-TinyShallow_7_7.json"),
        Component::WanVae => ("", "wan.json"),
        Component::AudioVae => (
            "stable-audio-open-1.0",
            "stable-audio-open-1.0/model_config.json",
        ),
    }
}

/// Writes all weights into `folder`, with one bar over all bytes.
fn write(items: &[Item], folder: &Path, cancel: &Cancel) -> Result<()> {
    let total = items.iter().map(Item::bytes).sum();
    let bar = progress::byte_bar("writing", total);
    let mut before = 0;
    for item in items {
        let folder = item.folder_in(folder);
        let mut report = |done, _total| {
            bar.set_position(before + done);
            !cancel.is_cancelled()
        };
        item.weights
            .write(&folder, staging::SHARD_BYTES, &mut report)?;
        before += item.bytes();
        if item.part == Component::WanVae && items.len() > 1 {
            let named = folder.join("Wan2.2_VAE.safetensors");
            fs::rename(folder.join("model.safetensors"), &named)
                .map_err(|e| Error::output_io(&named, e))?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}
