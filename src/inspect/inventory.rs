//! What a model folder holds, whether it is complete, and what it can make; read from names and headers alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    pipeline::{networks::NetworkConfig, request::BaseVariant},
    tensor::LayerFormats,
    text::Tokenizer,
    weights::{Component, Folder, State, Variant, quantized},
};

/// A part of the model, and what was found.
#[derive(Debug)]
pub struct InventoryEntry {
    /// The part.
    pub part: Component,
    /// Where it is, or is expected.
    pub state: State,
    /// Bytes of its files.
    pub bytes: u64,
    /// Formats of the layers that are stored quantised.
    pub formats: LayerFormats,
    /// The fault of a part that is there.
    pub problem: Option<Error>,
}

impl InventoryEntry {
    /// Whether it is there and without a fault.
    pub fn is_usable(&self) -> bool {
        self.problem.is_none() && matches!(self.state, State::Found { .. })
    }
}

/// Something the program can make, and the parts it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// `1080p, base`; for an addition the parameter with its value: `decoder wan`.
    pub name: String,
    /// Whether it is an addition to a size, not a clip of its own.
    pub is_addition: bool,
    /// The parts it needs.
    pub parts: Vec<Component>,
}

/// Every part of `folder`, with names, shapes and types of all tensors checked against its config. Reads no tensor.
///
/// # Errors
/// If memory runs out, which is no part's fault.
pub fn entries(folder: &Folder) -> Result<Vec<InventoryEntry>> {
    let states = folder.states().iter();
    let entries = states.map(|(part, state)| {
        let (bytes, checked) = match state {
            State::Found { path, .. } => (bytes_of(path), check(folder, *part)),
            State::Missing(_) => (0, Ok(LayerFormats::new())),
        };
        let (formats, problem) = match checked {
            Ok(formats) => (formats, None),
            Err(problem @ Error::OutOfMemory { .. }) => return Err(problem),
            Err(problem) => (LayerFormats::new(), Some(problem)),
        };
        Ok(InventoryEntry {
            part: *part,
            state: state.clone(),
            bytes,
            formats,
            problem,
        })
    });
    entries.collect()
}

/// Everything the program can make.
pub fn uses() -> Vec<Use> {
    let always = [
        Component::Tokenizer,
        Component::TextEncoder,
        Component::TurboVae,
        Component::AudioVae,
    ];
    let refiners = [
        ("256p", None),
        ("540p", Some(Variant::Sr540p)),
        ("1080p", Some(Variant::Sr1080p)),
    ];
    let mut uses = Vec::new();
    for variant in [BaseVariant::Distill, BaseVariant::Base] {
        for (size, refiner) in refiners {
            let mut parts = always.to_vec();
            parts.push(Component::Dit(variant.network()));
            parts.extend(refiner.map(Component::Dit));
            let name = format!("{size}, {}", variant.network().key());
            uses.push(Use {
                name,
                is_addition: false,
                parts,
            });
        }
    }
    for (name, part) in [
        ("image", Component::WanVae),
        ("decoder wan", Component::WanVae),
        ("audio", Component::AudioVae),
    ] {
        uses.push(Use {
            name: name.into(),
            is_addition: true,
            parts: vec![part],
        });
    }
    uses
}

/// Formats of the quantised layers of a part without a fault.
fn check(folder: &Folder, part: Component) -> Result<LayerFormats> {
    if part == Component::Tokenizer {
        return Tokenizer::open(folder.tokenizer()?).map(|_| LayerFormats::new());
    }
    let mut sizes = NetworkConfig::of(folder, part)?;
    if let (NetworkConfig::Dit(config), Component::Dit(variant)) = (&mut sizes, part) {
        config.local_attn_layers = folder.properties(variant).local_layers;
        config
            .validate()
            .map_err(|problem| Error::weights(folder.dir(), problem))?;
    }
    let weights = folder.open(part)?;
    let required_tensors = sizes.stored_specs(weights.source());
    weights.check(&required_tensors)?;
    weights.check_nothing_left(&required_tensors)?;
    Ok(quantized::stored(weights.source()))
}

/// Bytes of a file, or of the checkpoint files of a folder.
fn bytes_of(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let Ok(entries) = fs::read_dir(path) else {
        return size(path);
    };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors");
    files.filter(is_weights).map(|path| size(&path)).sum()
}
