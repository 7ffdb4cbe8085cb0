//! `gallop.json`, the optional manifest of a model folder: paths of components, and properties of each variant.
//!
//! ```json
//! {
//!   "base":         {"path": "weights/base", "config": "tiny.json", "steps": 4, "coordinates": "v2"},
//!   "1080p_sr":     {"local_layers": [0, 1, 2], "frame_receptive_field": 11, "guidance": 1.0, "shift": 5.0},
//!   "text_encoder": {"path": "/models/t5gemma-9b-9b-ul2"}
//! }
//! ```
//!
//! Every key is optional; paths are relative to the manifest. Unknown keys are refused, so that a typing mistake
//! cannot silently leave a default in place.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// Name of the manifest in a model folder.
pub const FILE_NAME: &str = "gallop.json";

/// A parsed manifest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Manifest {
    /// The network for base passes with guidance.
    pub base: Option<ManifestEntry>,
    /// The distilled network for base passes.
    pub distill: Option<ManifestEntry>,
    /// The network for super-resolution to 540p.
    #[serde(rename = "540p_sr")]
    pub sr_540p: Option<ManifestEntry>,
    /// The network for super-resolution to 1080p.
    #[serde(rename = "1080p_sr")]
    pub sr_1080p: Option<ManifestEntry>,
    /// T5Gemma.
    pub text_encoder: Option<ManifestEntry>,
    /// Its tokenizer.json.
    pub tokenizer: Option<ManifestEntry>,
    /// The fast video decoder.
    pub turbo_vae: Option<ManifestEntry>,
    /// The full video autoencoder.
    pub wan_vae: Option<ManifestEntry>,
    /// The audio autoencoder.
    pub audio_vae: Option<ManifestEntry>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// The manifest's entry of one component.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct ManifestEntry {
    /// File or folder of the weights.
    pub path: Option<PathBuf>,
    /// JSON file of the network's sizes.
    pub config: Option<PathBuf>,
    /// See [`Properties::steps`].
    pub steps: Option<usize>,
    /// See [`Properties::coordinates`].
    pub coordinates: Option<PositionScheme>,
    /// See [`Properties::local_layers`].
    pub local_layers: Option<Vec<usize>>,
    /// See [`Properties::frame_receptive_field`].
    pub frame_receptive_field: Option<usize>,
    /// See [`Properties::guidance`].
    pub guidance: Option<f64>,
    /// See [`Properties::shift`].
    pub shift: Option<f64>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// How audio and text tokens are placed in time; see [`Coordinates`](crate::model::dit::Coordinates).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionScheme {
    /// Audio and text stretched over the video's frames: the super-resolution networks.
    V1,
    /// Audio by its own clock, text before time zero: the base networks.
    V2,
}

/// How a denoising network is sampled, and what its tensors do not tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Properties {
    /// Denoising steps.
    pub steps: usize,
    /// How audio and text tokens are placed in time.
    pub coordinates: PositionScheme,
    /// Layers with local attention, ascending.
    pub local_layers: Vec<usize>,
    /// Window radius of those layers, latent frames.
    pub frame_receptive_field: usize,
    /// Guidance scale of the video in the early steps; 1 means no guidance, one forward pass per step.
    pub guidance: f64,
    /// Shift of the sigma schedule.
    pub shift: f64,
}

impl Manifest {
    /// Parses the text of the manifest `path`.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is not JSON (names the line), has an unknown key (names the nearest known one) or an
    /// impossible value.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let manifest: Self = serde_json::from_str(text)
            .map_err(|e| Error::weights(path, format!("is not a manifest: {e}")))?;
        let parts: Vec<String> = manifest.items().map(|(name, _)| name.into()).collect();
        check_unknown(path, "", &manifest.unknown, &parts)?;
        for (name, item) in manifest.items() {
            let Some(item) = item else { continue };
            let known = ["path", "config"].iter().chain(PROPERTIES.iter());
            let known: Vec<String> = known.map(|&key| key.into()).collect();
            check_unknown(path, &format!("{name}."), &item.unknown, &known)?;
            item.check()
                .map_err(|problem| Error::weights(path, format!("`{name}.{problem}")))?;
        }
        Ok(manifest)
    }

    /// Every component's entry, by key.
    pub fn items(&self) -> impl Iterator<Item = (&'static str, Option<&ManifestEntry>)> {
        [
            ("base", &self.base),
            ("distill", &self.distill),
            ("540p_sr", &self.sr_540p),
            ("1080p_sr", &self.sr_1080p),
            ("text_encoder", &self.text_encoder),
            ("tokenizer", &self.tokenizer),
            ("turbo_vae", &self.turbo_vae),
            ("wan_vae", &self.wan_vae),
            ("audio_vae", &self.audio_vae),
        ]
        .into_iter()
        .map(|(name, item)| (name, item.as_ref()))
    }

    /// The entry of the component with this key.
    pub fn item(&self, key: &str) -> Option<&ManifestEntry> {
        self.items().find(|(name, _)| *name == key)?.1
    }
}

const PROPERTIES: [&str; 6] = [
    "steps",
    "coordinates",
    "local_layers",
    "frame_receptive_field",
    "guidance",
    "shift",
];

impl ManifestEntry {
    /// `published`, overridden by the manifest.
    pub fn properties(&self, published: Properties) -> Properties {
        let mut local_layers = self.local_layers.clone().unwrap_or(published.local_layers);
        local_layers.sort_unstable();
        local_layers.dedup();
        Properties {
            steps: self.steps.unwrap_or(published.steps),
            coordinates: self.coordinates.unwrap_or(published.coordinates),
            local_layers,
            frame_receptive_field: self
                .frame_receptive_field
                .unwrap_or(published.frame_receptive_field),
            guidance: self.guidance.unwrap_or(published.guidance),
            shift: self.shift.unwrap_or(published.shift),
        }
    }

    fn check(&self) -> std::result::Result<(), String> {
        const MAX_STEPS: usize = 1000;
        if let Some(steps) = self.steps.filter(|n| !(1..=MAX_STEPS).contains(n)) {
            return Err(format!("steps` must be 1 to {MAX_STEPS}; found {steps}"));
        }
        if let Some(guidance) = self.guidance.filter(|&g| !(1.0..=100.0).contains(&g)) {
            return Err(format!("guidance` must be 1 to 100; found {guidance}"));
        }
        if let Some(shift) = self.shift.filter(|&s| !(0.01..=1000.0).contains(&s)) {
            return Err(format!("shift` must be 0.01 to 1000; found {shift}"));
        }
        Ok(())
    }
}

fn check_unknown(
    path: &Path,
    within: &str,
    unknown: &BTreeMap<String, Value>,
    known: &[String],
) -> Result<()> {
    let Some(key) = unknown.keys().next() else {
        return Ok(());
    };
    let nearest = known.iter().min_by_key(|word| distance(key, word));
    let problem = match nearest {
        Some(nearest) if distance(key, nearest) <= nearest.len().div_ceil(2) => {
            format!("has the unknown key `{within}{key}`; is `{within}{nearest}` meant?")
        }
        _ => format!(
            "has the unknown key `{within}{key}`; known are {}",
            known.join(", ")
        ),
    };
    Err(Error::weights(path, problem))
}

/// Edit distance (insertions, deletions, replacements) of two words. Of a long word, only the beginning counts.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
